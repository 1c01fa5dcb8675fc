// The torch-free loops of the mixture operators, compiled once more for this module: it shall be
// usable without the operators', and share no symbol with them.
#include "../cpu/mix.cpp"
#include "../cpu/mix_batch.cpp"
