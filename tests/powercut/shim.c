/* Records what a process does to the files of one folder, in order, together with what it says on its
 * standard output: so that the folder can be rebuilt as a power cut at any moment would have left it.
 *
 * Preloaded (LD_PRELOAD), with POWERCUT_FOLDER (absolute) and POWERCUT_LOG. Records are a header and its
 * data, see log.py. Every call and its record happen under one lock, so the order is the true one.
 * Memory maps are not seen; SQLite maps only its -shm file, which a power cut takes anyway.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum { FILES = 4096, LOG_HANDLE = 900 };
enum { NOT_OURS = 0, A_FILE = 1, THE_FOLDER = 2 };

struct __attribute__((packed)) header {
    uint8_t what;
    uint64_t file;
    int64_t offset;
    uint32_t length;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char kinds[FILES];
static char folder[PATH_MAX];
static int log_handle = -1;

__attribute__((constructor)) static void begin(void)
{
    const char *where = getenv("POWERCUT_FOLDER"), *log = getenv("POWERCUT_LOG");
    if (!where || !log)
        return;
    snprintf(folder, sizeof folder, "%s", where);
    int handle = syscall(SYS_openat, AT_FDCWD, log, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    log_handle = fcntl(handle, F_DUPFD_CLOEXEC, LOG_HANDLE);
    syscall(SYS_close, handle);
    unsetenv("LD_PRELOAD");
}

static void record(char what, uint64_t file, int64_t offset, const void *data, size_t length)
{
    struct header header = {(uint8_t)what, file, offset, (uint32_t)length};
    struct iovec parts[2] = {{&header, sizeof header}, {(void *)data, length}};
    if (syscall(SYS_writev, log_handle, parts, 2) != (long)(sizeof header + length))
        abort();
}

static uint64_t number_of(int handle)
{
    struct stat status;
    return fstat(handle, &status) ? 0 : (uint64_t)status.st_ino;
}

/* The name inside the folder, empty for the folder itself, NULL for what lies elsewhere. */
static const char *name_of(const char *path)
{
    size_t length = strlen(folder);
    if (log_handle < 0 || strncmp(path, folder, length))
        return NULL;
    if (!path[length])
        return path + length;
    return path[length] == '/' ? path + length + 1 : NULL;
}

static int kind_of(int handle)
{
    return log_handle >= 0 && handle >= 0 && handle < FILES ? kinds[handle] : NOT_OURS;
}

static int opened(int at, const char *path, int flags, mode_t mode)
{
    const char *name = name_of(path);
    if (!name)
        return syscall(SYS_openat, at, path, flags, mode);
    pthread_mutex_lock(&lock);
    struct stat status;
    int is_new = stat(path, &status) != 0;
    int handle = syscall(SYS_openat, at, path, flags, mode);
    if (handle >= 0 && handle < FILES) {
        kinds[handle] = *name ? A_FILE : THE_FOLDER;
        if (is_new)
            record('N', number_of(handle), 0, name, strlen(name));
        else if (flags & O_TRUNC)
            record('T', number_of(handle), 0, NULL, 0);
    }
    pthread_mutex_unlock(&lock);
    return handle;
}

#define MODE_OF(flags, mode)                                                                       \
    mode_t mode = 0;                                                                               \
    if ((flags) & (O_CREAT | O_TMPFILE)) {                                                         \
        va_list more;                                                                              \
        va_start(more, flags);                                                                     \
        mode = va_arg(more, int);                                                                  \
        va_end(more);                                                                              \
    }

int open(const char *path, int flags, ...)
{
    MODE_OF(flags, mode)
    return opened(AT_FDCWD, path, flags, mode);
}

int open64(const char *path, int flags, ...)
{
    MODE_OF(flags, mode)
    return opened(AT_FDCWD, path, flags, mode);
}

int openat(int at, const char *path, int flags, ...)
{
    MODE_OF(flags, mode)
    return opened(at, path, flags, mode);
}

int openat64(int at, const char *path, int flags, ...)
{
    MODE_OF(flags, mode)
    return opened(at, path, flags, mode);
}

int close(int handle)
{
    if (kind_of(handle) == NOT_OURS)
        return syscall(SYS_close, handle);
    pthread_mutex_lock(&lock);
    kinds[handle] = NOT_OURS;
    int result = syscall(SYS_close, handle);
    pthread_mutex_unlock(&lock);
    return result;
}

ssize_t write(int handle, const void *data, size_t length)
{
    int kind = kind_of(handle), says = handle == 1 && log_handle >= 0;
    if (kind == NOT_OURS && !says)
        return syscall(SYS_write, handle, data, length);
    pthread_mutex_lock(&lock);
    if (says) /* before anybody can hear it, so that a kill leaves no word unrecorded */
        record('A', 0, 0, data, length);
    int64_t offset = says ? 0 : lseek(handle, 0, SEEK_CUR);
    ssize_t done = syscall(SYS_write, handle, data, length);
    if (done > 0 && !says)
        record('W', number_of(handle), offset, data, done);
    pthread_mutex_unlock(&lock);
    return done;
}

ssize_t pwrite64(int handle, const void *data, size_t length, off64_t offset)
{
    if (kind_of(handle) == NOT_OURS)
        return syscall(SYS_pwrite64, handle, data, length, offset);
    pthread_mutex_lock(&lock);
    ssize_t done = syscall(SYS_pwrite64, handle, data, length, offset);
    if (done > 0)
        record('W', number_of(handle), offset, data, done);
    pthread_mutex_unlock(&lock);
    return done;
}

ssize_t pwrite(int handle, const void *data, size_t length, off_t offset)
{
    return pwrite64(handle, data, length, offset);
}

int ftruncate64(int handle, off64_t size)
{
    if (kind_of(handle) == NOT_OURS)
        return syscall(SYS_ftruncate, handle, size);
    pthread_mutex_lock(&lock);
    int result = syscall(SYS_ftruncate, handle, size);
    if (!result)
        record('T', number_of(handle), size, NULL, 0);
    pthread_mutex_unlock(&lock);
    return result;
}

int ftruncate(int handle, off_t size)
{
    return ftruncate64(handle, size);
}

static int synced(long call, int handle)
{
    int kind = kind_of(handle);
    if (kind == NOT_OURS)
        return syscall(call, handle);
    pthread_mutex_lock(&lock);
    int result = syscall(call, handle);
    if (!result)
        record(kind == THE_FOLDER ? 'D' : 'S', number_of(handle), 0, NULL, 0);
    pthread_mutex_unlock(&lock);
    return result;
}

int fsync(int handle)
{
    return synced(SYS_fsync, handle);
}

int fdatasync(int handle)
{
    return synced(SYS_fdatasync, handle);
}

int unlink(const char *path)
{
    const char *name = name_of(path);
    if (!name)
        return syscall(SYS_unlink, path);
    pthread_mutex_lock(&lock);
    int result = syscall(SYS_unlink, path);
    if (!result)
        record('U', 0, 0, name, strlen(name));
    pthread_mutex_unlock(&lock);
    return result;
}

int rename(const char *from, const char *to)
{
    const char *old = name_of(from), *new = name_of(to);
    if (!old || !new)
        return syscall(SYS_rename, from, to);
    char names[2 * PATH_MAX];
    pthread_mutex_lock(&lock);
    int result = syscall(SYS_rename, from, to);
    if (!result) {
        int length = snprintf(names, sizeof names, "%s/%s", old, new);
        record('R', 0, 0, names, length);
    }
    pthread_mutex_unlock(&lock);
    return result;
}
