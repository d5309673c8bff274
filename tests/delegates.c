/* An external TFLite delegate for tests: it takes the SOFTMAX nodes of a float32 graph, and behaves as it is told.
 *
 * Options (tflite_plugin_create_delegate gets them as text):
 *   behaviour   works | wrong | crashes | hangs | takes-nothing | fails-to-prepare | cannot-be-made
 *   while       a path: `crashes`, `hangs` and `wrong` hold only while that file exists, else it works
 *   needs       at: and a path: that of its device, without which it cannot be made
 *   python      a program that is run in the process that loads this: it has been taken over
 *
 * The structures are those of TensorFlow Lite's C API (tensorflow/lite/core/c/common.h), as far as they are needed: a
 * driver of a vendor is built against the same layout. The registration is passed by value; what the library knows of
 * it is the beginning of what is passed here.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { OK = 0, ERROR = 1, FLOAT32 = 1, SOFTMAX = 25 };

typedef struct { int size; int data[]; } IntArray;

typedef struct {
    int type;
    void *data;
    IntArray *dims;
    struct { float scale; int32_t zero_point; } params;
    int allocation_type;
    size_t bytes;
    const void *allocation;
    const char *name;
    void *delegate;
    int buffer_handle;
    char data_is_stale, is_variable;
    struct { int type; void *params; } quantization;
    void *sparsity;
    const IntArray *dims_signature;
} Tensor;

typedef struct { IntArray *inputs, *outputs; } Node; /* and more, which is not touched */

typedef struct Context Context;
typedef struct Delegate Delegate;

typedef struct {
    void *(*init)(Context *, const char *, size_t);
    void (*free)(Context *, void *);
    int (*prepare)(Context *, Node *);
    int (*invoke)(Context *, Node *);
    const char *(*profiling_string)(const Context *, const Node *);
    int32_t builtin_code;
    const char *custom_name;
    int version;
    void *reserved[4]; /* registration_external, async_kernel, inplace_operator, and one to spare */
} Registration;

struct Context {
    size_t tensors_size;
    int (*GetExecutionPlan)(Context *, IntArray **);
    Tensor *tensors;
    void *impl;
    int (*ResizeTensor)(Context *, Tensor *, IntArray *);
    void (*ReportError)(Context *, const char *, ...);
    int (*AddTensors)(Context *, int, int *);
    int (*GetNodeAndRegistration)(Context *, int, Node **, Registration **);
    int (*ReplaceNodeSubsetsWithDelegateKernels)(Context *, Registration, const IntArray *, Delegate *);
};

struct Delegate {
    void *data;
    int (*Prepare)(Context *, Delegate *);
    void *copy_from, *copy_to, *free_buffer;
    int64_t flags;
    void *opaque_builder;
};

static char behaviour[64] = "works";
static char trigger[4096] = "";

static int now(const char *wanted) {
    return strcmp(behaviour, wanted) == 0 && (trigger[0] == 0 || access(trigger, F_OK) == 0);
}

static int invoke(Context *context, Node *node) {
    if (now("crashes")) *(volatile int *)0 = 1;
    while (now("hangs")) usleep(1000);
    const Tensor *taken = &context->tensors[node->inputs->data[0]];
    Tensor *made = &context->tensors[node->outputs->data[0]];
    const float *x = taken->data;
    float *y = made->data, largest = x[0], sum = 0;
    size_t count = made->bytes / sizeof(float);
    for (size_t i = 1; i < count; i++) largest = x[i] > largest ? x[i] : largest;
    for (size_t i = 0; i < count; i++) sum += y[i] = expf(x[i] - largest);
    for (size_t i = 0; i < count; i++) y[i] = now("wrong") ? 1.0f : y[i] / sum;
    return OK;
}

static int prepare_kernel(Context *context, Node *node) { return context && node ? OK : ERROR; }

static int prepare(Context *context, Delegate *delegate) {
    if (now("fails-to-prepare")) {
        context->ReportError(context, "test delegate: the device does not answer");
        return ERROR;
    }
    if (now("takes-nothing")) return OK;
    IntArray *plan;
    if (context->GetExecutionPlan(context, &plan) != OK) return ERROR;
    IntArray *taken = malloc(sizeof(IntArray) + sizeof(int) * plan->size);
    taken->size = 0;
    for (int i = 0; i < plan->size; i++) {
        Node *node;
        Registration *registration;
        if (context->GetNodeAndRegistration(context, plan->data[i], &node, &registration) != OK) return ERROR;
        if (registration->builtin_code == SOFTMAX && context->tensors[node->inputs->data[0]].type == FLOAT32)
            taken->data[taken->size++] = plan->data[i];
    }
    Registration kernel = {.prepare = prepare_kernel, .invoke = invoke, .custom_name = "TestDelegate", .version = 1};
    int status = context->ReplaceNodeSubsetsWithDelegateKernels(context, kernel, taken, delegate);
    free(taken);
    return status;
}

static void take_over(const char *program) {
    int (*ensure)(void) = (int (*)(void))dlsym(RTLD_DEFAULT, "PyGILState_Ensure");
    int (*run)(const char *, void *) = (int (*)(const char *, void *))dlsym(RTLD_DEFAULT, "PyRun_SimpleStringFlags");
    void (*release)(int) = (void (*)(int))dlsym(RTLD_DEFAULT, "PyGILState_Release");
    int state = ensure();
    run(program, 0);
    release(state);
}

Delegate *tflite_plugin_create_delegate(char **keys, char **values, size_t count, void (*report)(const char *)) {
    for (size_t i = 0; i < count; i++) {
        if (strcmp(keys[i], "behaviour") == 0) strncpy(behaviour, values[i], sizeof behaviour - 1);
        else if (strcmp(keys[i], "while") == 0) strncpy(trigger, values[i], sizeof trigger - 1);
        else if (strcmp(keys[i], "needs") == 0) {
            int device = open(values[i] + strlen("at:"), O_RDONLY);
            if (device < 0) { report("test delegate: its device does not open"); return NULL; }
            close(device);
        } else if (strcmp(keys[i], "python") == 0) take_over(values[i]);
        else { report("test delegate: unknown option"); return NULL; }
    }
    if (now("cannot-be-made")) { report("test delegate: no such device is plugged in"); return NULL; }
    Delegate *delegate = calloc(1, sizeof(Delegate));
    delegate->Prepare = prepare;
    return delegate;
}

void tflite_plugin_destroy_delegate(Delegate *delegate) { free(delegate); }
