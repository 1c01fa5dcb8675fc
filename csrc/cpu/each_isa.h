#pragma once

// JB_EACH_ISA: a function that is compiled once for each instruction set, of which the loader picks
// what the processor has; JB_INTO: one that is to be compiled into such functions. For loops on
// integers, whose bits are the same from each.

#if defined(__x86_64__) && defined(__gnu_linux__) && !defined(__clang__)
#define JB_EACH_ISA __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#define JB_INTO __attribute__((always_inline)) inline
#else
#define JB_EACH_ISA
#define JB_INTO inline
#endif
