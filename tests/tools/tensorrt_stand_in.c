/* Stands in for libnvinfer, libnvonnxparser and their kin, for libcudart and for libcuda: NVIDIA's Python
   bindings load, and whatever they call is answered by one function, tests/tools/tensorrt_stand_in.py.

   An object of TensorRT's C++ interface begins with a pointer to a table of functions, and holds another one
   whose table the inline methods of its header use: all of them are this one table. What is called is told
   by the number of the function; arguments are words, in the calling convention of x86-64: five in registers
   are enough, and five words behind them are what a shape takes that is handed over by value. */

typedef unsigned long word;
typedef word (*answer)(word number, word a, word b, word c, word d, word e, word *behind);

static word answer_nothing(word number, word a, word b, word c, word d, word e, word *behind) {
  (void)number, (void)a, (void)b, (void)c, (void)d, (void)e, (void)behind;
  return 0;
}

static answer answer_by = answer_nothing;

void stand_in_answer_by(answer function) { answer_by = function ? function : answer_nothing; }

#define FUNCTION(n) \
  static word function_##n(word a, word b, word c, word d, word e, word f, \
                           word g, word h, word i, word j, word k) { \
    word behind[] = {g, h, i, j, k}; \
    (void)f; \
    return answer_by(n - 0100, a, b, c, d, e, behind); \
  }
#define NAME(n) function_##n,
/* Octal digits count: 0100 is the first. */
#define EIGHT(M, n) M(n##0) M(n##1) M(n##2) M(n##3) M(n##4) M(n##5) M(n##6) M(n##7)
#define EIGHTY(M, n) \
  EIGHT(M, n##0) EIGHT(M, n##1) EIGHT(M, n##2) EIGHT(M, n##3) \
  EIGHT(M, n##4) EIGHT(M, n##5) EIGHT(M, n##6) EIGHT(M, n##7)
#define ALL(M) EIGHTY(M, 01) EIGHTY(M, 02)

ALL(FUNCTION)

/* Before the table: its object's offset, and no type: what it is called by. */
static const struct { word offset; void *type; void *functions[128]; } table = {0, 0, {ALL(NAME)}};

void *stand_in_table(void) { return (void *)table.functions; }

/* Numbered by their place in FUNCTIONS of tensorrt_stand_in.py, from 1000. */
#define EXPORT(name, n) \
  word name(word a, word b, word c, word d, word e) { return answer_by(n, a, b, c, d, e, (word *)0); }

EXPORT(createInferBuilder_INTERNAL, 1000)
EXPORT(createInferRuntime_INTERNAL, 1001)
EXPORT(createNvOnnxParser_INTERNAL, 1002)
EXPORT(cudaGetDeviceCount, 1003)
EXPORT(cudaDeviceGetAttribute, 1004)
EXPORT(cudaMalloc, 1005)
EXPORT(cudaFree, 1006)
EXPORT(cudaMemcpyAsync, 1007)
EXPORT(cudaStreamCreate, 1008)
EXPORT(cudaStreamSynchronize, 1009)
EXPORT(cudaEventCreate, 1010)
EXPORT(cudaEventRecord, 1011)
EXPORT(cudaEventElapsedTime, 1012)
EXPORT(cudaGetErrorString, 1013)
EXPORT(cuInit, 1014)
EXPORT(cuDeviceGet, 1015)
EXPORT(cuDeviceGetName, 1016)
EXPORT(cuDeviceGetAttribute, 1017)

/* What the bindings name, and nobody calls. */
#define UNUSED(name) word name(void) { return 0; }

UNUSED(createInferRefitter_INTERNAL)
UNUSED(createNvOnnxParserRefitter_INTERNAL)
UNUSED(getBuilderPluginRegistry)
UNUSED(getNvOnnxParserVersion)
UNUSED(getPluginRegistry)
UNUSED(initLibNvInferPlugins)
UNUSED(_ZN11nvuffparser15createUffParserEv)
UNUSED(_ZN11nvuffparser8FieldMapC1EPKcPKvNS_9FieldTypeEi)
UNUSED(_ZN14nvcaffeparser117createCaffeParserEv)
UNUSED(_ZN14nvcaffeparser123shutdownProtobufLibraryEv)
