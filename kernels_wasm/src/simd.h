// SIMD128 intrinsics: the compiler's own in Wasm, SIMDe's translation of them natively.
#pragma once
#ifdef __wasm__
#include <wasm_simd128.h>
#else
#define SIMDE_ENABLE_NATIVE_ALIASES
#include <simde/wasm/simd128.h>
#endif
