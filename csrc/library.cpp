#include <Python.h>

// Weak, so that the linker may insist on every other symbol (-z defs): Python's own are found in
// the interpreter that loads the module, not in a library.
#pragma weak PyModule_Create2

// An empty module: importing it loads the shared object, whose static initialisers register the
// kernels of csrc/ops. The schemas live in jobs_bench/ops, so operators exist without a compiler.
extern "C" __attribute__((visibility("default"))) PyObject* PyInit__C(void) {
  static struct PyModuleDef def = {PyModuleDef_HEAD_INIT, "_C", nullptr, -1, nullptr,
                                   nullptr,               nullptr, nullptr, nullptr};
  return PyModule_Create(&def);
}
