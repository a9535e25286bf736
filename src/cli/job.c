/* job.c: config to model and trainer; the data are job_data.c's, evaluation is job_evaluate.c's. Whatever can fail on
 * one rank alone is agreed on before the next collective call. */
#include "cli/job.h"

#include "cli/bind.h"
#include "cli/fatal.h"

int64_t dpt_job_steps(int64_t units, int64_t per_unit) {
    int64_t steps;
    return __builtin_mul_overflow(units, per_unit, &steps) ? INT64_MAX : steps;
}

static dpt_status build_model(dpt_job *job) {
    DPT_TRY(dpt_job_model(job));
    DPT_TRY(dpt_job_groups(job));
    return dpt_graph_status(job->graph);
}

_Static_assert((int)DPT_CONFIG_OPTIMIZER_ADAM == DPT_ADAM && (int)DPT_CONFIG_OPTIMIZER_LAMB == DPT_LAMB,
               "the words of the config stand in the order of dpt_optimizer");
_Static_assert((int)DPT_CONFIG_PRECISION_TF32 == DPT_PRECISION_TF32 &&
                   (int)DPT_CONFIG_PRECISION_FP16 == DPT_PRECISION_FP16,
               "the words of the config stand in the order of dpt_precision");

_Static_assert((int)DPT_CONFIG_RECOMPUTE_NONE == DPT_RECOMPUTE_NONE &&
                   (int)DPT_CONFIG_RECOMPUTE_NORM == DPT_RECOMPUTE_NORM,
               "the words of the config stand in the order of dpt_recompute");

void dpt_job_trainer_options(const dpt_job *job, dpt_trainer_options *o) {
    const dpt_config *c = job->config;
    dpt_trainer_options_init(o);
    o->max_rows = job->share;
    o->optimizer = (dpt_optimizer)c->optimizer.name;
    o->nesterov = c->optimizer.nesterov;
    o->trust = c->optimizer.trust;
    o->average_decay = c->average.decay;
    o->lr = c->optimizer.lr;
    o->momentum = c->optimizer.momentum;
    o->beta1 = c->optimizer.beta1;
    o->beta2 = c->optimizer.beta2;
    o->eps = c->optimizer.eps;
    o->weight_decay = c->optimizer.weight_decay;
    o->clip_norm = c->optimizer.clip_norm;
    o->accumulate = (int)c->accumulate;
    o->seed = (uint64_t)c->seed;
    o->precision = (dpt_precision)c->precision;
    o->recompute = (dpt_recompute)c->recompute;
    o->zero = (int)c->optimizer.zero;
    o->update_by_bucket = c->optimizer.by_bucket;
    o->bucket_bytes = (int64_t)(c->comm.bucket_mb * 1048576);
}

static dpt_status open_context(dpt_job *job) {
    static const char *const devices[] = {"auto", "cpu", "cuda"};
    static const char *const libraries[] = {"auto", "nccl", "mpi"};
    static const int threads[] = {-1, 1, 0};
    const dpt_config *c = job->config;
    dpt_context_options o;
    dpt_context_options_init(&o);
    o.device = devices[c->device];
    o.threads = c->threads ? (int)c->threads : job->cli->launch.threads;
    o.comm_thread = threads[c->comm.thread];
    o.graph = (int)c->cuda.graph;
    o.sync = c->cuda.sync == DPT_CONFIG_CUDA_SYNC_OP;
    o.memory = c->cuda.memory;
    o.deterministic = c->deterministic == DPT_CONFIG_SWITCH_ON;
    o.comm = libraries[c->comm.library];
    o.comm_bf16 = c->comm.dtype == DPT_CONFIG_COMM_DTYPE_BF16;
    o.comm_ctas = (int)c->comm.ctas;
    o.comm_check = c->comm.check;
    o.comm_start_s = c->comm.start_s;
    o.emulate = c->comm.emulate;
    o.interface_name = c->comm.interface;
    o.watchdog = c->watchdog.enabled;
    o.silence_s = c->watchdog.silence_s;
    o.stuck_s = c->watchdog.stuck_s;
    o.limit_s = c->watchdog.limit_s;
    dpt_fatal_arm(job->cli, &o);
    DPT_TRY(dpt_context_create(job->cli->control.comm, &o, &job->ctx));
    job->cli->control.position = job->ctx->position;
    dpt_position_phase(job->ctx->position, DPT_PHASE_START); /* until the command says otherwise */
    return c->bind == DPT_CONFIG_BIND_AUTO ? dpt_bind_near_device(job->ctx) : DPT_OK;
}

static dpt_status check_batch(dpt_job *job) {
    const dpt_config *c = job->config;
    int world = job->cli->control.world;
    DPT_CHECK(c->batch >= world, DPT_ERR_CONFIG,
              "%d ranks, but a global batch of %lld rows: give batch at least one row a rank, or start fewer ranks",
              world, (long long)c->batch);
    job->share = (c->batch + world - 1) / world;
    DPT_CHECK(c->accumulate <= job->share, DPT_ERR_CONFIG, "accumulate is %lld, but a rank has %lld rows of a batch",
              (long long)c->accumulate, (long long)job->share);
    return DPT_OK;
}

dpt_status dpt_job_open(dpt_cli *cli, dpt_config *config, bool plan, dpt_job *job) {
    *job = (dpt_job){.cli = cli, .config = config};
    dpt_cli_log_level = config->log.level;
    dpt_digest digest = {0};
    DPT_TRY(dpt_control_agree(&cli->control, dpt_config_digest(config, &digest)));
    DPT_TRY(dpt_control_same(&cli->control, "the configuration", digest.value));
    DPT_TRY(check_batch(job));
    DPT_TRY(open_context(job));
    dpt_job_choose_model(job);
    DPT_TRY(dpt_job_data_open(job, plan));
    DPT_TRY(dpt_job_choose_order(job));
    DPT_TRY(dpt_control_agree(&cli->control, build_model(job)));
    job->steps = config->steps ? config->steps : dpt_job_steps(config->epochs, dpt_job_epoch_steps(job));
    if (plan) return DPT_OK;
    dpt_trainer_options o;
    dpt_job_trainer_options(job, &o);
    DPT_TRY(dpt_trainer_create(job->graph, &o, &job->trainer));
    return dpt_control_agree(&cli->control, dpt_job_measures_open(job));
}

void dpt_job_close(dpt_job *job) {
    dpt_job_measures_close(job);
    dpt_trainer_destroy(&job->trainer);
    dpt_graph_destroy(&job->graph);
    dpt_layers_destroy(&job->layers);
    dpt_job_memory_close(job);
    dpt_job_draws_close(job);
    dpt_job_data_close(job);
    if (job->ctx) dpt_position_phase(job->ctx->position, DPT_PHASE_END);
    if (job->cli) job->cli->control.position = NULL;
    dpt_context_destroy(&job->ctx);
}
