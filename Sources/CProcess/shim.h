// shim.h: Linux calls that Swift cannot make itself because their C form is variadic.
#pragma once
#define _GNU_SOURCE
#include <spawn.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

/// A descriptor that becomes readable when the process ends; -1 where the kernel has none.
static inline int penstock_pidfd_open(int pid) {
#ifdef SYS_pidfd_open
    return (int)syscall(SYS_pidfd_open, pid, 0);
#else
    return -1;
#endif
}

/// The signal this process gets when the thread that started it ends; 0 on success.
static inline int penstock_set_parent_death_signal(int signal) {
    return prctl(PR_SET_PDEATHSIG, (unsigned long)signal, 0UL, 0UL, 0UL);
}

/// Names the calling thread; Linux keeps 15 bytes.
static inline int penstock_set_thread_name(const char *name) {
    return prctl(PR_SET_NAME, (unsigned long)name, 0UL, 0UL, 0UL);
}

/// Has a spawned process start without the parent's descriptors from `first` on. (A GNU extension, which Swift's Glibc
/// module leaves out.)
static inline int penstock_spawn_close_from(posix_spawn_file_actions_t *actions, int first) {
    return posix_spawn_file_actions_addclosefrom_np(actions, first);
}

/// The process's environment, ended by a null pointer. (Swift's Glibc module declares `environ` twice.)
static inline char **penstock_environment(void) {
    return environ;
}
