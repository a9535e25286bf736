/* pass_seams.c: a pass that has a place and nothing to do yet: layout (canonical only). */
#include "program/program.h"
#include "program/rewrite.h"

dpt_status dpt_pass_layout(const dpt_graph *from, const dpt_program_options *o, dpt_graph **to) {
    (void)o;
    return dpt_prune(from, to);
}
