/* The calls of the CUDA runtime and driver that torch makes before any kernel: one pretended H100, on which nothing can
   run. Preloaded under the driver library's name, it lets autograd and fused attention accept fake CUDA tensors. */
#include <stddef.h>

/* How cudaDeviceProp begins, in CUDA 12 and 13 alike; torch zeroes the rest. */
struct properties {
    char name[256];
    char ids[28];
    size_t memory, shared_memory_per_block;
    int registers_per_block, warp_size;
    size_t pitch;
    int threads_per_block, threads[3], grid[3];
    size_t constant_memory;
    int major, minor;
};

int cudaGetDeviceProperties(struct properties *p, int device)
{
    *p = (struct properties){
        .name = "H100, pretended", .memory = 80UL << 30, .shared_memory_per_block = 48 << 10,
        .registers_per_block = 1 << 16, .warp_size = 32, .threads_per_block = 1024, .threads = {1024, 1024, 64},
        .grid = {0x7fffffff, 65535, 65535}, .major = 9,
    };
    return 0;
}
int cudaGetDeviceProperties_v2(struct properties *p, int device) { return cudaGetDeviceProperties(p, device); }

int cudaGetDeviceCount(int *count) { *count = 1; return 0; }
int cudaGetDevice(int *device) { *device = 0; return 0; }
int cudaSetDevice(int device) { return 0; }
int cudaDriverGetVersion(int *version) { *version = 13000; return 0; }
int cudaGetLastError(void) { return 0; }
int cudaPeekAtLastError(void) { return 0; }
int cudaDeviceGetAttribute(int *value, int attribute, int device) { *value = 0; return 0; }
int cudaDeviceGetStreamPriorityRange(int *least, int *greatest) { *least = 0; *greatest = -5; return 0; }
int cudaStreamIsCapturing(void *stream, int *status) { *status = 0; return 0; }

int cuInit(unsigned flags) { return 0; }
int cuDriverGetVersion(int *version) { *version = 13000; return 0; }
int cuDevicePrimaryCtxGetState(int device, unsigned *flags, int *active) { *flags = 0; *active = 0; return 0; }
int cuGetErrorString(int error, const char **text) { *text = "pretended"; return 0; }
