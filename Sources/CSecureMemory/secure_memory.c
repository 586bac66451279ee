// secure_memory.c: Linux calls for protected memory and a hardened process.
#define _GNU_SOURCE
#include "CSecureMemory.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Numbers that are the same on every architecture since kernel 5.1 and that older headers lack. */
#ifndef SYS_memfd_secret
#define SYS_memfd_secret 447
#endif
#ifndef SYS_landlock_create_ruleset
#define SYS_landlock_create_ruleset 444
#define SYS_landlock_add_rule 445
#define SYS_landlock_restrict_self 446
#endif
#ifndef SYS_process_vm_readv
#define SYS_process_vm_readv -1
#endif
#ifndef MLOCK_ONFAULT
#define MLOCK_ONFAULT 1
#endif

int penstock_memfd_secret(void) { return (int)syscall(SYS_memfd_secret, O_CLOEXEC); }

int penstock_lock(void *address, unsigned long count, int on_fault) {
    return on_fault ? mlock2(address, count, MLOCK_ONFAULT) : mlock(address, count);
}

void penstock_wipe(void *address, unsigned long count) { explicit_bzero(address, count); }

int penstock_forbid_dump(void) { return prctl(PR_SET_DUMPABLE, 0UL, 0UL, 0UL, 0UL); }

int penstock_is_dumpable(void) { return prctl(PR_GET_DUMPABLE, 0UL, 0UL, 0UL, 0UL); }

int penstock_forbid_privileges(void) { return prctl(PR_SET_NO_NEW_PRIVS, 1UL, 0UL, 0UL, 0UL); }

#if defined(__x86_64__)
#define PENSTOCK_ARCHITECTURE AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define PENSTOCK_ARCHITECTURE AUDIT_ARCH_AARCH64
#endif

int penstock_filter_calls(void) {
#ifdef PENSTOCK_ARCHITECTURE
    static const int denied[] = {
        SYS_ptrace, SYS_process_vm_readv, SYS_process_vm_writev, SYS_kcmp, SYS_perf_event_open,
        SYS_bpf, SYS_userfaultfd, SYS_kexec_load, SYS_init_module, SYS_finit_module, SYS_add_key, SYS_request_key,
    };
    enum { COUNT = sizeof denied / sizeof denied[0] };
    struct sock_filter program[COUNT + 6];
    int at = 0;
    /* Another architecture's call numbers mean other calls: such a call kills the process. */
    program[at++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch));
    program[at++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, PENSTOCK_ARCHITECTURE, 1, 0);
    program[at++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS);
    program[at++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
    for (int i = 0; i < COUNT; i++)
        program[at++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)denied[i], COUNT - i, 0);
    program[at++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    program[at++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM);
    struct sock_fprog filter = {.len = (unsigned short)at, .filter = program};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1UL, 0UL, 0UL, 0UL) != 0) return -1;
    return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &filter) == 0 ? 0 : -1;
#else
    return -1;
#endif
}

int penstock_can_filter_calls(void) {
#ifdef PENSTOCK_ARCHITECTURE
    unsigned action = SECCOMP_RET_ERRNO;
    return syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0U, &action) == 0;
#else
    return 0;
#endif
}

/* The kernel's Landlock interface, version 1 with the rights of version 3, so that no newer header is needed. */
struct landlock_ruleset { uint64_t handled_fs; };
struct landlock_path { uint64_t allowed; int32_t parent; } __attribute__((packed));
enum { LANDLOCK_CREATE_VERSION = 1, LANDLOCK_PATH_BENEATH = 1 };
#define LANDLOCK_WRITE_FILE (1ULL << 1)
#define LANDLOCK_REMOVE_AND_MAKE 0x1ff0ULL
#define LANDLOCK_REFER (1ULL << 13)
#define LANDLOCK_TRUNCATE (1ULL << 14)

int penstock_landlock_version(void) {
    long version = syscall(SYS_landlock_create_ruleset, NULL, 0UL, (unsigned)LANDLOCK_CREATE_VERSION);
    return version > 0 ? (int)version : 0;
}

int penstock_restrict_writes(const char *const *folders, int count) {
    int version = penstock_landlock_version();
    if (version < 1) return -1;
    uint64_t rights = LANDLOCK_WRITE_FILE | LANDLOCK_REMOVE_AND_MAKE;
    if (version >= 2) rights |= LANDLOCK_REFER;
    if (version >= 3) rights |= LANDLOCK_TRUNCATE;
    struct landlock_ruleset ruleset = {.handled_fs = rights};
    int rules = (int)syscall(SYS_landlock_create_ruleset, &ruleset, sizeof ruleset, 0U);
    if (rules < 0) return -1;
    int result = 0;
    for (int i = 0; i < count && result == 0; i++) {
        int folder = open(folders[i], O_PATH | O_CLOEXEC);
        if (folder < 0) continue; /* What is not there cannot be written to. */
        struct landlock_path rule = {.allowed = rights, .parent = folder};
        result = (int)syscall(SYS_landlock_add_rule, rules, LANDLOCK_PATH_BENEATH, &rule, 0U);
        close(folder);
    }
    if (result == 0) result = prctl(PR_SET_NO_NEW_PRIVS, 1UL, 0UL, 0UL, 0UL);
    if (result == 0) result = (int)syscall(SYS_landlock_restrict_self, rules, 0U);
    close(rules);
    return result == 0 ? 0 : -1;
}
