// CProcess.h: Linux calls that Swift cannot make itself because their C form is variadic or a GNU extension.
// Includes no system header: one that is compiled with other feature macros than Swift's Glibc module clashes with it.
#pragma once

/// A descriptor that becomes readable when the process ends; -1 where the kernel has none.
int penstock_pidfd_open(int pid);

/// The signal this process gets when the thread that started it ends; 0 on success.
int penstock_set_parent_death_signal(int signal);

/// Names the calling thread; Linux keeps 15 bytes.
int penstock_set_thread_name(const char *name);

/// Has a spawned process start without the parent's descriptors from `first` on.
/// `actions` points to a posix_spawn_file_actions_t.
int penstock_spawn_close_from(void *actions, int first);

/// The process's environment, ended by a null pointer. (Swift's Glibc module declares `environ` twice.)
char **penstock_environment(void);
