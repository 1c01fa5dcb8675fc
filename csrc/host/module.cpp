#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include "corpus_stream.h"

// jobs_bench._host: classes with a state of their own, which are no tensor operators.

PYBIND11_MODULE(_host, m) {
  namespace py = pybind11;
  using jobs_bench::CorpusStream;
  py::class_<CorpusStream>(m, "CorpusStream")
      .def(py::init<py::array, py::array, const py::array&, const py::array&, jobs_bench::Numbers,
                    const jobs_bench::Numbers&, bool>())
      .def("batch", &CorpusStream::batch)
      .def("pack", &CorpusStream::pack);
}
