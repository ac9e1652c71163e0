/* A driver without a GPU: memory of the host, queues that are done at once, graphs that replay copies.
   Calls outside a context, and in one that was given back, fail as the real driver's do; live() counts what
   was not given back, pushed() the contexts left on the stack of this thread, limit() sets the memory. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct { void *to; const void *from; size_t size; } Copy;
typedef struct { Copy copies[16]; int n; } Graph;
typedef struct { Graph *recording; } Stream;

static int live_things, retained;
static size_t total = 1u << 30, used;
static __thread int depth;
static int device_object;

#define NEEDS_CONTEXT if (!depth) return 201; if (!retained) return 709
#define GIVE(thing) do { live_things++; thing; } while (0)

int live(void) { return live_things + retained; }
int pushed(void) { return depth; }
void limit(size_t n) { total = n; }

int cuInit(unsigned f) { return f ? 1 : 0; }
int cuDriverGetVersion(int *v) { *v = 13000; return 0; }
int cuDeviceGetCount(int *n) { *n = 2; return 0; }
int cuDeviceGet(int *d, int i) { if (i > 1) return 101; *d = i; return 0; }
int cuDeviceGetName(char *s, int n, int d) { (void)d; strncpy(s, "Fake", n); return 0; }
int cuDeviceGetAttribute(int *v, int a, int d) { (void)d; *v = a == 75 ? 9 : 0; return 0; }
int cuDevicePrimaryCtxRetain(void **c, int d) { (void)d; retained++; *c = &device_object; return 0; }
int cuDevicePrimaryCtxRelease_v2(int d) { (void)d; if (!retained) return 201; retained--; return 0; }
int cuCtxDestroy_v2(void *c) { (void)c; return 201; } /* not of a primary context */
int cuCtxDetach(void *c) { (void)c; return 201; }
int cuCtxPushCurrent_v2(void *c) { if (c != &device_object) return 201; depth++; return 0; }
int cuCtxPopCurrent_v2(void **c) { if (!depth) return 201; depth--; if (c) *c = &device_object; return 0; }
int cuCtxGetCurrent(void **c) { *c = depth ? &device_object : NULL; return 0; }
int cuCtxGetDevice(int *d) { NEEDS_CONTEXT; *d = 0; return 0; }
int cuCtxSynchronize(void) { NEEDS_CONTEXT; return 0; }

/* The size lies before the block, which starts at a multiple of 256, as the real driver's. */
int cuMemAlloc_v2(void **p, size_t n) {
  NEEDS_CONTEXT;
  if (!n) return 1;
  if (n > total - used) return 2;
  char *block = aligned_alloc(256, 256 + (n + 255) / 256 * 256);
  *(size_t *)block = n;
  used += n;
  GIVE(*p = block + 256);
  return 0;
}
int cuMemFree_v2(void *p) {
  NEEDS_CONTEXT;
  char *block = (char *)p - 256;
  used -= *(size_t *)block;
  free(block);
  live_things--;
  return 0;
}
int cuMemGetInfo_v2(size_t *left, size_t *all) { NEEDS_CONTEXT; *left = total - used; *all = total; return 0; }
int cuMemHostAlloc(void **p, size_t n, unsigned f) { NEEDS_CONTEXT; (void)f; GIVE(*p = malloc(n)); return 0; }
int cuMemAllocHost_v2(void **p, size_t n) { return cuMemHostAlloc(p, n, 0); }
int cuMemFreeHost(void *p) { NEEDS_CONTEXT; free(p); live_things--; return 0; }

int cuStreamCreate(Stream **s, unsigned f) { NEEDS_CONTEXT; if (f != 1) return 1; GIVE(*s = calloc(1, sizeof **s)); return 0; }
int cuStreamDestroy_v2(Stream *s) { NEEDS_CONTEXT; free(s); live_things--; return 0; }
int cuStreamSynchronize(Stream *s) { NEEDS_CONTEXT; return s->recording ? 900 : 0; }

static int copy(void *to, const void *from, size_t n, Stream *s) {
  NEEDS_CONTEXT;
  if (s->recording) s->recording->copies[s->recording->n++] = (Copy){to, from, n};
  else memcpy(to, from, n);
  return 0;
}
int cuMemcpyHtoDAsync_v2(void *to, const void *from, size_t n, Stream *s) { return copy(to, from, n, s); }
int cuMemcpyDtoHAsync_v2(void *to, void *from, size_t n, Stream *s) { return copy(to, from, n, s); }

int cuStreamBeginCapture_v2(Stream *s, int mode) {
  NEEDS_CONTEXT;
  if (mode != 1 || s->recording) return 901;
  GIVE(s->recording = calloc(1, sizeof(Graph)));
  return 0;
}
int cuStreamEndCapture(Stream *s, Graph **g) { NEEDS_CONTEXT; *g = s->recording; s->recording = NULL; return *g ? 0 : 901; }
int cuGraphInstantiateWithFlags(Graph **e, Graph *g, unsigned long long f) {
  NEEDS_CONTEXT;
  if (f) return 1;
  GIVE(*e = malloc(sizeof **e));
  **e = *g;
  return 0;
}
int cuGraphDestroy(Graph *g) { NEEDS_CONTEXT; free(g); live_things--; return 0; }
int cuGraphExecDestroy(Graph *g) { NEEDS_CONTEXT; free(g); live_things--; return 0; }
int cuGraphLaunch(Graph *g, Stream *s) {
  NEEDS_CONTEXT;
  for (int i = 0; i < g->n; i++) copy(g->copies[i].to, g->copies[i].from, g->copies[i].size, s);
  return 0;
}

int cuGetErrorName(int e, const char **s) { (void)e; *s = "CUDA_ERROR_FAKE"; return 0; }
int cuGetErrorString(int e, const char **s) { (void)e; *s = "an error of the stand-in"; return 0; }

/* cuda-bindings asks for every function by its plain name. */
int cuGetProcAddress_v2(const char *name, void **f, int version, unsigned long long flags, int *status) {
  char versioned[128];
  (void)version; (void)flags;
  snprintf(versioned, sizeof versioned, "%s_v2", name);
  void *self = dlopen("libcuda.so.1", RTLD_NOW | RTLD_NOLOAD);
  *f = dlsym(self, versioned);
  if (!*f && !strcmp(name, "cuGraphInstantiate")) *f = dlsym(self, "cuGraphInstantiateWithFlags");
  if (!*f) *f = dlsym(self, name);
  if (status) *status = *f ? 0 : 1;
  return 0;
}
int cuGetProcAddress(const char *name, void **f, int version, unsigned long long flags) {
  return cuGetProcAddress_v2(name, f, version, flags, NULL);
}
