/* nccl_reduce.cpp: see nccl_reduce.h. */
#include "nccl_reduce.h"

#include <stdint.h>

#include <algorithm>

namespace hostnccl {

namespace {

/* How a value is stored, and the type it is added in. */
template <typename T>
struct plain {
    typedef T stored, wide;
    static T widen(T v) { return v; }
    static T narrow(T v) { return v; }
};

struct half_float {
    typedef __half stored;
    typedef float wide;
    static float widen(__half v) { return __half2float(v); }
    static __half narrow(float v) { return __float2half_rn(v); }
};

struct brain_float {
    typedef __nv_bfloat16 stored;
    typedef float wide;
    static float widen(__nv_bfloat16 v) { return __bfloat162float(v); }
    static __nv_bfloat16 narrow(float v) { return __float2bfloat16_rn(v); }
};

template <typename W>
W combine(ncclRedOp_t op, W a, W b) {
    switch (op) {
        case ncclProd: return (W)(a * b);
        case ncclMax: return std::max(a, b);
        case ncclMin: return std::min(a, b);
        default: return (W)(a + b);
    }
}

template <typename F>
void reduce_as(ncclRedOp_t op, void *out, const void *parts, int ranks, size_t count) {
    const typename F::stored *from = static_cast<const typename F::stored *>(parts);
    for (size_t i = 0; i < count; i++) {
        typename F::wide sum = F::widen(from[i]);
        for (int r = 1; r < ranks; r++) sum = combine(op, sum, F::widen(from[(size_t)r * count + i]));
        if (op == ncclAvg) sum = (typename F::wide)(sum / (typename F::wide)ranks);
        static_cast<typename F::stored *>(out)[i] = F::narrow(sum);
    }
}

}  // namespace

size_t bytes_of(ncclDataType_t type) {
    switch (type) {
        case ncclInt8:
        case ncclUint8: return 1;
        case ncclFloat16:
        case ncclBfloat16: return 2;
        case ncclInt32:
        case ncclUint32:
        case ncclFloat32: return 4;
        case ncclInt64:
        case ncclUint64:
        case ncclFloat64: return 8;
        default: return 0;
    }
}

void reduce_parts(ncclDataType_t type, ncclRedOp_t op, void *out, const void *parts, int ranks, size_t count) {
    switch (type) {
        case ncclInt8: reduce_as<plain<int8_t>>(op, out, parts, ranks, count); break;
        case ncclUint8: reduce_as<plain<uint8_t>>(op, out, parts, ranks, count); break;
        case ncclInt32: reduce_as<plain<int32_t>>(op, out, parts, ranks, count); break;
        case ncclUint32: reduce_as<plain<uint32_t>>(op, out, parts, ranks, count); break;
        case ncclInt64: reduce_as<plain<int64_t>>(op, out, parts, ranks, count); break;
        case ncclUint64: reduce_as<plain<uint64_t>>(op, out, parts, ranks, count); break;
        case ncclFloat16: reduce_as<half_float>(op, out, parts, ranks, count); break;
        case ncclBfloat16: reduce_as<brain_float>(op, out, parts, ranks, count); break;
        case ncclFloat32: reduce_as<plain<float>>(op, out, parts, ranks, count); break;
        case ncclFloat64: reduce_as<plain<double>>(op, out, parts, ranks, count); break;
        default: break;
    }
}

}  // namespace hostnccl
