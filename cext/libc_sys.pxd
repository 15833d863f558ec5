# Every function and constant that the core takes from the C library and the kernel's headers.

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

cdef extern from "<string.h>" nogil:
    void* memcpy(void* to, const void* source, size_t n)
    void* memset(void* to, int byte, size_t n)
    int memcmp(const void* a, const void* b, size_t n)
    const void* memchr(const void* text, int byte, size_t n)
    size_t strlen(const char* text)
    int strcmp(const char* a, const char* b)
    int strncmp(const char* a, const char* b, size_t n)
    const char* strstr(const char* text, const char* part)
    char* strerror(int number)

cdef extern from "<errno.h>" nogil:
    int errno
    enum: EACCES, EAGAIN, EBADF, EBADMSG, EBUSY, EEXIST, EINTR, EINVAL, EIO, ENOBUFS, ENODEV, ENOENT, ENOEXEC, ENOMEM
    enum: EKEYREJECTED, EOPNOTSUPP, EPERM, EPIPE, EROFS

cdef extern from "<fcntl.h>" nogil:
    enum: O_RDONLY, O_WRONLY, O_RDWR, O_CLOEXEC, O_APPEND, O_CREAT, O_TRUNC, O_DIRECTORY, O_NONBLOCK, O_NOCTTY
    enum: O_NOFOLLOW, O_PATH
    enum: AT_FDCWD, AT_REMOVEDIR
    int open(const char* path, int flags, ...)
    int openat(int directory, const char* path, int flags, ...)

cdef extern from "<unistd.h>" nogil:
    ssize_t read(int fd, void* to, size_t n)
    ssize_t pread(int fd, void* to, size_t n, int64_t offset)
    ssize_t write(int fd, const void* source, size_t n)
    int64_t lseek(int fd, int64_t offset, int whence)
    int close(int fd)
    int dup2(int fd, int target)
    int chdir(const char* path)
    int fchdir(int fd)
    int chroot(const char* path)
    int access(const char* path, int mode)
    ssize_t readlinkat(int directory, const char* path, char* out, size_t n)
    int ftruncate(int fd, int64_t size)
    int symlink(const char* target, const char* path)
    int unlinkat(int directory, const char* path, int flags)
    int getpid()
    unsigned int geteuid()
    int fork()
    int pipe2(int* ends, int flags)
    int setsid()
    int execv(const char* path, char** argv)
    int pause()
    void _exit(int code)
    long syscall(long number, ...)
    long sysconf(int name)
    enum: _SC_NPROCESSORS_ONLN
    enum: X_OK, SEEK_END

cdef extern from "<sys/syscall.h>" nogil:
    enum: SYS_getdents64, SYS_finit_module, SYS_delete_module, SYS_sched_setscheduler

cdef extern from "<sys/stat.h>" nogil:
    struct stat_t "stat":
        uint64_t st_dev
        uint64_t st_rdev
        unsigned int st_mode
        int64_t st_size
    int fstat(int fd, stat_t* out)
    int fstatat(int directory, const char* path, stat_t* out, int flags)
    int mkdir(const char* path, unsigned int mode)
    int rename(const char* path, const char* target)
    bint S_ISREG(unsigned int mode)
    bint S_ISBLK(unsigned int mode)

cdef extern from "<sys/sysmacros.h>" nogil:
    unsigned int major(uint64_t device)
    unsigned int minor(uint64_t device)

cdef extern from "<sys/mman.h>" nogil:
    enum: PROT_READ, PROT_WRITE, MAP_PRIVATE, MAP_SHARED, MAP_ANONYMOUS, MAP_POPULATE, MFD_CLOEXEC
    void* mmap(void* address, size_t n, int protection, int flags, int fd, int64_t offset)
    int munmap(void* address, size_t n)
    int memfd_create(const char* name, unsigned int flags)

cdef enum:
    MFD_NOEXEC_SEAL = 8  # include/uapi/linux/memfd.h; C libraries before glibc 2.38 do not name it

cdef extern from "<sys/mount.h>" nogil:
    enum: MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_SYNCHRONOUS, MS_DIRSYNC, MS_NOATIME, MS_NODIRATIME
    enum: MS_RELATIME, MS_STRICTATIME, MS_LAZYTIME, MS_MOVE, MNT_DETACH
    int mount(const char* source, const char* target, const char* kind, unsigned long flags, const void* data)
    int umount2(const char* target, int flags)

cdef extern from "<sys/vfs.h>" nogil:
    struct statfs_t "statfs":
        long f_type
    int fstatfs(int fd, statfs_t* out)

cdef extern from "<linux/magic.h>" nogil:
    enum: RAMFS_MAGIC, TMPFS_MAGIC

cdef extern from "<sys/utsname.h>" nogil:
    struct utsname:
        char release[65]
        char machine[65]
    int uname(utsname* out)

cdef extern from "<time.h>" nogil:
    enum: CLOCK_MONOTONIC, CLOCK_PROCESS_CPUTIME_ID
    struct timespec:
        int64_t tv_sec
        long tv_nsec
    int clock_gettime(int clock, timespec* out)

cdef extern from "<poll.h>" nogil:
    enum: POLLIN
    struct pollfd:
        int fd
        short events
        short revents
    int poll(pollfd* fds, unsigned long n, int timeout)

cdef extern from "<sys/socket.h>" nogil:
    enum: AF_NETLINK, SOCK_DGRAM, SOCK_CLOEXEC, SOCK_NONBLOCK, SOL_SOCKET, SO_RCVBUFFORCE
    struct sockaddr:
        pass
    int socket(int domain, int kind, int protocol)
    int bind(int fd, const sockaddr* address, unsigned int n)
    int setsockopt(int fd, int level, int name, const void* value, unsigned int n)
    ssize_t recvfrom(int fd, void* to, size_t n, int flags, sockaddr* source, unsigned int* source_n)

cdef extern from "<linux/netlink.h>" nogil:
    enum: NETLINK_KOBJECT_UEVENT
    struct sockaddr_nl:
        unsigned short nl_family
        uint32_t nl_pid
        uint32_t nl_groups

cdef extern from "<sched.h>" nogil:
    enum: SCHED_OTHER, SCHED_IDLE

cdef extern from "<sys/wait.h>" nogil:
    int waitpid(int pid, int* status, int options)

cdef extern from "<sys/ioctl.h>" nogil:
    enum: TIOCSCTTY
    int ioctl(int fd, unsigned long request, ...)

cdef extern from "<pthread.h>" nogil:
    ctypedef unsigned long pthread_t
    int pthread_create(pthread_t* thread, const void* attributes, void* (*run)(void*) noexcept nogil, void* argument)
    int pthread_join(pthread_t thread, void** result)
