// minichar does not use half precision. CuPy's headers only need the declarations.
#pragma once
class float16 {
    _Float16 value;

   public:
    float16() {}
    float16(float x) : value(x) {}
    float16(double x) : value(x) {}
    float16(int x) : value(x) {}
    float16(long x) : value(x) {}
    float16(bool x) : value(x) {}
    operator float() const { return value; }
};
static inline bool isnan(float16 x) { return x != x; }
