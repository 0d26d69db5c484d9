/* A plugin for qemu-user that counts the instructions of its guest.
 *
 * The guest marks a moment by the system call getpgid(MARK + n), which no process answers. For each mark a line
 * "n count" goes to the file of the plugin's argument marks=PATH, where count is the number of instructions so far.
 *
 * Built with -DQEMU_API=1 for QEMU up to 8.2 and -DQEMU_API=2 from 9.0 on, which counts for each virtual processor.
 * The few declarations that it needs are made here, because distributions do not package qemu-plugin.h.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

enum { GETPGID = 155, MARK = 1000000000, MARKS = 1000000, ADD_U64 = 0 };

typedef uint64_t plugin_id;
struct qemu_plugin_tb;

void qemu_plugin_register_vcpu_tb_trans_cb(plugin_id, void (*)(plugin_id, struct qemu_plugin_tb *));
void qemu_plugin_register_vcpu_syscall_cb(
    plugin_id, void (*)(plugin_id, unsigned, int64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t,
                        uint64_t, uint64_t));
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);

#define EXPORT __attribute__((visibility("default")))
EXPORT int qemu_plugin_version = QEMU_API;
static FILE *marks;

#if QEMU_API == 1
void qemu_plugin_register_vcpu_tb_exec_inline(struct qemu_plugin_tb *, int, void *, uint64_t);

static uint64_t executed;

static void prepare(void) {}

static void count_block(struct qemu_plugin_tb *block, uint64_t instructions)
{
    qemu_plugin_register_vcpu_tb_exec_inline(block, ADD_U64, &executed, instructions);
}

static uint64_t count(unsigned processor) { return executed; }
#else
struct qemu_plugin_scoreboard;
typedef struct {
    struct qemu_plugin_scoreboard *score;
    size_t offset;
} per_processor;
struct qemu_plugin_scoreboard *qemu_plugin_scoreboard_new(size_t);
void qemu_plugin_register_vcpu_tb_exec_inline_per_vcpu(struct qemu_plugin_tb *, int, per_processor, uint64_t);
uint64_t qemu_plugin_u64_get(per_processor, unsigned);

static per_processor executed;

static void prepare(void) { executed.score = qemu_plugin_scoreboard_new(sizeof(uint64_t)); }

static void count_block(struct qemu_plugin_tb *block, uint64_t instructions)
{
    qemu_plugin_register_vcpu_tb_exec_inline_per_vcpu(block, ADD_U64, executed, instructions);
}

static uint64_t count(unsigned processor) { return qemu_plugin_u64_get(executed, processor); }
#endif

static void on_block(plugin_id id, struct qemu_plugin_tb *block) { count_block(block, qemu_plugin_tb_n_insns(block)); }

static void on_call(plugin_id id, unsigned processor, int64_t number, uint64_t first, uint64_t a2, uint64_t a3,
                    uint64_t a4, uint64_t a5, uint64_t a6, uint64_t a7, uint64_t a8)
{
    if (number == GETPGID && first >= MARK && first < MARK + MARKS)
        fprintf(marks, "%llu %llu\n", (unsigned long long)(first - MARK), (unsigned long long)count(processor));
}

EXPORT int qemu_plugin_install(plugin_id id, const void *info, int argc, char **argv)
{
    if (argc != 1 || strncmp(argv[0], "marks=", 6) || !(marks = fopen(argv[0] + 6, "w")))
        return 1;
    setvbuf(marks, NULL, _IOLBF, 0);
    prepare();
    qemu_plugin_register_vcpu_tb_trans_cb(id, on_block);
    qemu_plugin_register_vcpu_syscall_cb(id, on_call);
    return 0;
}
