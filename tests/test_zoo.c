/* test_zoo.c: the models of the zoo build, with PyTorch's parameter shapes and counts, and refuse what they cannot be.
 */
#include "check.h"
#include "graph/graph.h"
#include "models/zoo.h"

static const dpt_model *find(const char *name) {
    const dpt_model *model = NULL;
    CHECK_OK(dpt_model_find(name, &model));
    return model;
}

/* Parameters of the model, and of the same layers in PyTorch (sum of p.numel()). */
static void check_elements(const dpt_model *model, int64_t arrays, int64_t elements) {
    dpt_graph *g = dpt_graph_create(NULL);
    CHECK_OK(model->build(g, &model->defaults));
    int64_t n = 0;
    for (int64_t i = 0; i < g->n_param; i++) n += dpt_row_count(g->param[i].tensor);
    CHECK_EQ_I64(g->n_param, arrays);
    CHECK_EQ_I64(n, elements);
    CHECK_EQ_I64(g->n_loss, 1);
    CHECK_EQ_TEXT(dpt_shape_text(g->loss[0].value), "[B]");
    dpt_graph_destroy(&g);
}

static void check_parameters(const char *name, int64_t arrays, int64_t elements) {
    check_elements(find(name), arrays, elements);
}

static void parameters(void) {
    check_parameters("mlp", 6, 784 * 512 + 512 + 512 * 512 + 512 + 512 * 10 + 10);
    check_parameters("cnn", 8, 32 * 9 + 32 + 64 * 32 * 9 + 64 + 3136 * 128 + 128 + 128 * 10 + 10);
    check_parameters("surrogate", 8, 8 * 64 + 64 + 2 * (64 * 64 + 64) + 64 * 3 + 3);
    /* the authors' counts, 287,425 and 1,188,353, with a complex weight as two */
    check_parameters("fno1d", 18, 287425 + 4 * 64 * 64 * 16);
    check_parameters("fno2d", 22, 1188353 + 4 * 2 * 32 * 32 * 12 * 12);
    check_parameters("mlp355m", 28, 2 * 4096 * 5120 + 12 * 5120 * 5120 + 13 * 5120 + 4096);
    check_parameters("vgg11", 22, 132863336); /* torchvision's, as are the next */
    check_parameters("vgg13", 26, 133047848);
    check_parameters("vgg16", 32, 138357544);
    check_parameters("vgg19", 38, 143667240);
    check_parameters("cosmo", 12,
                     27 * (4 * 16 + 16 * 32 + 32 * 64) + 112 + 64 * 64 * 128 + 128 + 128 * 64 + 64 + 64 * 4 + 4);
    check_parameters("cosmoflow", 16,
                     27 * (4 * 32 + 32 * 64 + 64 * 128 + 128 * 256 + 256 * 512) + 992 + 512 * 64 * 128 + 128 +
                         128 * 64 + 64 + 64 * 4 + 4);
}

static void check_param(const dpt_graph *g, int64_t i, const char *name, const char *shape) {
    if (!CHECK(i < g->n_param)) return;
    CHECK_EQ_TEXT(g->param[i].name, name);
    CHECK_EQ_TEXT(dpt_shape_text(g->param[i].tensor), shape);
}

static void cnn_layers(void) {
    const dpt_model *model = find("cnn");
    dpt_graph *g = dpt_graph_create(NULL);
    CHECK_OK(dpt_model_cnn(g, &model->defaults));
    check_param(g, 0, "conv1.weight", "[32,1,3,3]");
    check_param(g, 1, "conv1.bias", "[32]");
    check_param(g, 2, "conv2.weight", "[64,32,3,3]");
    check_param(g, 4, "fc1.weight", "[128,3136]");
    check_param(g, 6, "fc2.weight", "[10,128]");
    CHECK_EQ_I64(g->n_output, 2);
    CHECK_EQ_TEXT(g->output[0].name, "logits");
    CHECK_EQ_TEXT(dpt_shape_text(g->output[0].tensor), "[B,10]");
    CHECK_EQ_TEXT(g->output[1].name, "accuracy");
    CHECK_EQ_TEXT(dpt_shape_text(g->input[0]), "[B,1,28,28]");
    dpt_graph_destroy(&g);
}

/* torchvision's counts; for the small stem with 10 classes, those of tests/peers/torch_ddp.py. */
static void residual_nets(void) {
    static const struct {
        const char *name;
        int64_t size, classes, arrays, elements;
    } nets[] = {{"resnet18", 224, 1000, 62, 11689512},
                {"resnet34", 224, 1000, 110, 21797672},
                {"resnet50", 224, 1000, 161, 25557032},
                {"resnet18", 32, 10, 62, 11173962}};
    for (size_t i = 0; i < sizeof nets / sizeof nets[0]; i++) {
        dpt_model *model = &(dpt_model){0};
        *model = *find(nets[i].name);
        dpt_model_options *o = &model->defaults;
        o->in_dim[1] = o->in_dim[2] = nets[i].size;
        o->classes = nets[i].classes;
        check_elements(model, nets[i].arrays, nets[i].elements);
    }
}

static void residual_options(void) {
    dpt_model_options o = find("resnet18")->defaults;
    o.stem = DPT_MODEL_STEM_LARGE;
    o.batch_norm = DPT_MODEL_NORM_SYNC;
    o.dropout = 0.5;
    dpt_graph *g = dpt_graph_create(NULL);
    CHECK_OK(dpt_model_resnet18(g, &o));
    check_param(g, 0, "conv1.weight", "[64,3,7,7]");
    check_param(g, 1, "bn1.weight", "[64]");
    check_param(g, 3, "layer1.0.conv1.weight", "[64,64,3,3]");
    check_param(g, 7, "layer1.0.bn2.weight", "[64]");
    check_param(g, 21, "layer2.0.downsample.0.weight", "[128,64,1,1]");
    check_param(g, 60, "fc.weight", "[10,512]");
    CHECK_EQ_TEXT(g->state[1].name, "bn1.running_var");
    CHECK(g->state[1].kind == DPT_STATE_REPLICATED);
    CHECK(!dpt_name_free(g, "dropout"));
    dpt_graph_destroy(&g);
}

static void options(void) {
    dpt_model_options o = find("cnn")->defaults;
    o.batch_norm = DPT_MODEL_NORM_SYNC;
    o.dropout = 0.25;
    dpt_graph *g = dpt_graph_create(NULL);
    CHECK_OK(dpt_model_cnn(g, &o));
    check_param(g, 1, "bn1.weight", "[32]"); /* no convolution bias beside a batch norm */
    CHECK_EQ_I64(g->n_state, 6);
    CHECK(!dpt_name_free(g, "dropout1"));
    dpt_graph_destroy(&g);

    o = find("mlp")->defaults;
    o.in_ndim = 3, o.in_dim[0] = 2, o.in_dim[1] = 4, o.in_dim[2] = 5;
    o.n_hidden = 1, o.hidden[0] = 7, o.classes = 3;
    o.activation = DPT_MODEL_TANH;
    o.batch_norm = DPT_MODEL_NORM_LOCAL;
    o.loss = DPT_MODEL_MSE, o.target_dtype = DPT_F32;
    g = dpt_graph_create(NULL);
    CHECK_OK(dpt_model_mlp(g, &o));
    check_param(g, 0, "fc1.weight", "[7,40]");
    check_param(g, 2, "bn1.weight", "[7]");
    check_param(g, 4, "fc2.weight", "[3,7]");
    CHECK_EQ_I64(g->n_output, 1);
    CHECK_EQ_TEXT(g->output[0].name, "y");
    CHECK_EQ_TEXT(dpt_shape_text(g->input[1]), "[B,3]");
    dpt_graph_destroy(&g);
}

static void check_refused(const char *name, const dpt_model_options *o, const char *text) {
    dpt_graph *g = dpt_graph_create(NULL);
    CHECK_FAILS(find(name)->build(g, o), DPT_ERR_CONFIG, text);
    dpt_graph_destroy(&g);
}

/* Norms of each sample have the batch norms' parameters, but no running statistics. */
static void sample_norms(void) {
    const dpt_model_norm_of norms[] = {DPT_MODEL_NORM_OF_BATCH, DPT_MODEL_NORM_OF_GROUP, DPT_MODEL_NORM_OF_LAYER};
    for (int i = 0; i < 3; i++) {
        dpt_model_options o = find("unet")->defaults;
        o.in_dim[1] = o.in_dim[2] = 8, o.width = 12, o.depth = 1, o.norm = norms[i];
        if (i > 0) o.batch_norm = DPT_MODEL_NORM_NONE;
        dpt_graph *g = dpt_graph_create(NULL);
        CHECK_OK(dpt_model_unet(g, &o));
        check_param(g, 0, "down1.conv1.weight", "[12,3,3,3]");
        check_param(g, 1, "down1.bn1.weight", "[12]");
        check_param(g, 2, "down1.bn1.bias", "[12]");
        CHECK((g->n_state == 0) == (i > 0));
        dpt_graph_destroy(&g);
    }
}

/* As many parameters as the usual U-Net of 64 channels and 4 levels with one class; sizes that do not halve. */
static void unet(void) {
    dpt_model_options o = find("unet")->defaults;
    o.classes = 1, o.loss = DPT_MODEL_MSE, o.target_dtype = DPT_F32;
    o.in_dim[1] = 112, o.in_dim[2] = 80;
    dpt_graph *g = dpt_graph_create(NULL);
    CHECK_OK(dpt_model_unet(g, &o));
    int64_t n = 0;
    for (int64_t i = 0; i < g->n_param; i++) n += dpt_row_count(g->param[i].tensor);
    CHECK_EQ_I64(n, 31037633);
    CHECK_EQ_TEXT(dpt_shape_text(g->input[1]), "[B,1,112,80]");
    dpt_graph_destroy(&g);
    o.in_dim[1] = 100, o.in_dim[2] = 75;
    check_refused("unet", &o, "samples are 100 x 75: height and width must be multiples of 16: pad to 112 x 80");
    o = find("unet3d")->defaults;
    o.in_dim[3] = 9;
    check_refused("unet3d", &o, "64 x 64 x 9: depth, height and width must be multiples of 8: pad to 64 x 64 x 16");
    o.in_ndim = 3;
    check_refused("unet3d", &o, "samples have 3 dimensions: wanted 4, [channels, depth, height, width]");
}

static void refuses(void) {
    const dpt_model *model;
    CHECK_FAILS(dpt_model_find("mpl", &model), DPT_ERR_CONFIG, "no model \"mpl\": did you mean \"mlp\"?");
    CHECK_FAILS(dpt_model_find("transformer", &model), DPT_ERR_CONFIG,
                "there are mlp, cnn, surrogate, mlp4096, mlp355m");
    CHECK(model == NULL);
    dpt_model_options o = find("cnn")->defaults;
    o.in_dim[2] = 3;
    check_refused("cnn", &o, "28 high, 3 wide");
    o = find("cnn")->defaults;
    o.n_hidden = 1;
    check_refused("cnn", &o, "layers and activation are fixed");
    o = find("resnet50")->defaults;
    o.batch_norm = DPT_MODEL_NORM_NONE;
    check_refused("resnet50", &o, "local or sync, not none");
    o = find("resnet50")->defaults;
    o.in_ndim = 2;
    check_refused("resnet50", &o, "samples have 2 dimensions: wanted 3");
    o = find("mlp")->defaults;
    o.dropout = 1;
    check_refused("mlp", &o, "dropout 1 is not in [0, 1)");
    o = find("mlp")->defaults;
    o.hidden[1] = -4;
    check_refused("mlp", &o, "hidden layer 2 is -4 wide");
    o = find("mlp")->defaults;
    o.target_dtype = DPT_F32;
    check_refused("mlp", &o, "u8, i32 or i64, not f32");
    o = find("surrogate")->defaults;
    o.target_dtype = DPT_U8;
    check_refused("surrogate", &o, "f32, not u8");
    o = find("surrogate")->defaults;
    o.in_dim[0] = 0;
    check_refused("surrogate", &o, "dimension 0 of a sample is 0");
}

int main(int argc, char **argv) {
    return CHECK_MAIN(argc, argv, "zoo", {"parameters", parameters}, {"cnn_layers", cnn_layers}, {"options", options},
                      {"residual_nets", residual_nets}, {"residual_options", residual_options}, {"unet", unet},
                      {"sample_norms", sample_norms}, {"refuses", refuses});
}
