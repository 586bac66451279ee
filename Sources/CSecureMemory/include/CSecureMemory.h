// CSecureMemory.h: Linux calls for protected memory and a hardened process that Swift cannot make itself.
// Includes no system header: one that is compiled with other feature macros than Swift's Glibc module clashes with it.
#pragma once

/// A descriptor of memory that the kernel itself cannot read (memfd_secret(2)); -1 where the kernel has none.
int penstock_memfd_secret(void);

/// Locks pages as they are touched (mlock2(2) with MLOCK_ONFAULT), or at once; 0 on success.
int penstock_lock(void *address, unsigned long count, int on_fault);

/// Overwrites memory; the compiler cannot leave it out.
void penstock_wipe(void *address, unsigned long count);

/// PR_SET_DUMPABLE 0: no core dump, no debugger of the same user; 0 on success.
int penstock_forbid_dump(void);
int penstock_is_dumpable(void);

/// PR_SET_NO_NEW_PRIVS; 0 on success.
int penstock_forbid_privileges(void);

/// Installs a filter on all threads that answers EPERM to calls by which a process reads another one's memory.
/// 0 on success, -1 where the kernel or the processor has none.
int penstock_filter_calls(void);

/// 1 where the kernel can install that filter.
int penstock_can_filter_calls(void);

/// The Landlock version of the kernel; 0 for none.
int penstock_landlock_version(void);

/// Restricts the calling thread and those it starts: files may be written only below the folders named, read everywhere.
/// `folders` are `count` paths. 0 on success.
int penstock_restrict_writes(const char *const *folders, int count);
