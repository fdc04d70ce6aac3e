// minichar does not use half precision. CuPy's headers only need the declarations.
#pragma once
class bfloat16 {
    _Float16 value;

   public:
    bfloat16() {}
    bfloat16(float x) : value(x) {}
    bfloat16(double x) : value(x) {}
    bfloat16(int x) : value(x) {}
    bfloat16(long x) : value(x) {}
    bfloat16(bool x) : value(x) {}
    operator float() const { return value; }
};
static inline bool isnan(bfloat16 x) { return x != x; }
