/*
 * The C program of the tests that trace. It announces itself, and then answers questions:
 *
 *  pid PID      thread TID RBX (decimal, hex)      region NAME START PAGES      ready
 *  ping WORD → pong WORD      signals → signals N, of those that it has handled
 *
 *  traced plain            nothing but these answers
 *  traced waiting          three threads that wait in pause(2) with known registers
 *  traced leader-exits     the leader exits once another thread waits
 *  traced churn            threads that begin and end all the time
 *  traced parent CMD...    runs CMD; children → children N, the SIGCHLDs so far
 *  traced no-ptrace CMD... becomes CMD, which the kernel refuses to let trace
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGE 4096UL
#define PAGES 64

static void die(const char *what) {
  fprintf(stderr, "traced: %s: %s\n", what, strerror(errno));
  exit(1);
}

static volatile sig_atomic_t handled;
static volatile sig_atomic_t children;

static void on_signal(int signal) {
  (void)signal;
  handled++;
}

static void on_child(int signal) {
  (void)signal;
  children++;
}

static void listen_to(int signal, void (*handler)(int)) {
  struct sigaction action = {.sa_handler = handler, .sa_flags = SA_RESTART};
  if (sigaction(signal, &action, NULL) != 0) die("sigaction");
}

static void say_pid(void) { printf("pid %d\n", getpid()); }

/* Pages that the image must have. */
static void map_pages(void) {
  unsigned char *at = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE,
                           MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (at == MAP_FAILED) die("mmap");
  for (size_t page = 0; page < PAGES; page++) memset(at + page * PAGE, (int)(page + 1), PAGE);
  printf("region filled %lx %d\n", (unsigned long)at, PAGES);
}

static void answer(void) {
  char line[256];
  while (fgets(line, sizeof line, stdin) != NULL) {
    line[strcspn(line, "\n")] = 0;
    if (strncmp(line, "ping ", 5) == 0) printf("pong %s\n", line + 5);
    else if (strcmp(line, "signals") == 0) printf("signals %d\n", (int)handled);
    else if (strcmp(line, "children") == 0) printf("children %d\n", (int)children);
    fflush(stdout);
  }
  exit(0);
}

static pthread_barrier_t waiting;

static void announce_thread(uint64_t mark) {
  printf("thread %ld %lx\n", syscall(SYS_gettid), mark);
}

/* Waits for good, with the mark in rbx, r12 and xmm7. */
static void pause_marked(uint64_t mark) {
  __asm__ volatile(
      "mov %0, %%rbx\n mov %0, %%r12\n movq %%rbx, %%xmm7\n"
      "1: mov $34, %%eax\n syscall\n jmp 1b\n"
      :
      : "r"(mark)
      : "rax", "rbx", "rcx", "r11", "r12", "xmm7", "memory");
}

static void *wait_marked(void *argument) {
  announce_thread((uint64_t)argument);
  pthread_barrier_wait(&waiting);
  pause_marked((uint64_t)argument);
  return NULL;
}

static void run_waiting(void) {
  const uint64_t mark = 0x1122334455667700UL;
  pthread_t thread;
  pthread_barrier_init(&waiting, NULL, 3);
  map_pages();
  announce_thread(mark);
  for (uint64_t at = 1; at < 3; at++) {
    if (pthread_create(&thread, NULL, wait_marked, (void *)(mark + at)) != 0)
      die("pthread_create");
  }
  pthread_barrier_wait(&waiting);
  printf("ready\n");
  fflush(stdout);
  pause_marked(mark);
}

static void *answer_alone(void *argument) {
  pthread_join(*(pthread_t *)argument, NULL);
  printf("thread %ld 0\n", syscall(SYS_gettid));
  map_pages();
  printf("ready\n");
  fflush(stdout);
  answer();
  return NULL;
}

static void run_leader_exits(void) {
  static pthread_t leader;
  pthread_t thread;
  leader = pthread_self();
  if (pthread_create(&thread, NULL, answer_alone, &leader) != 0) die("pthread_create");
  pthread_exit(NULL);
}

static void *nothing(void *argument) { return argument; }

static void *keep_creating(void *argument) {
  for (;;) {
    pthread_t thread;
    if (pthread_create(&thread, NULL, nothing, NULL) == 0) pthread_join(thread, NULL);
  }
  return argument;
}

static void run_churn(void) {
  pthread_t thread;
  map_pages();
  for (int at = 0; at < 2; at++) {
    if (pthread_create(&thread, NULL, keep_creating, NULL) != 0) die("pthread_create");
  }
  printf("ready\n");
  fflush(stdout);
  answer();
}

static void run_parent(char **command) {
  listen_to(SIGCHLD, on_child);
  pid_t pid = fork();
  if (pid < 0) die("fork");
  if (pid == 0) {
    int nothing_to_read = open("/dev/null", O_RDONLY);
    dup2(nothing_to_read, 0);
    execv(command[0], command);
    die(command[0]);
  }
  answer();
}

static void refuse_ptrace(char **command) {
  struct sock_filter filter[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_ptrace, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  struct sock_fprog program = {sizeof filter / sizeof *filter, filter};
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) die("no_new_privs");
  if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0) die("seccomp");
  execv(command[0], command);
  die(command[0]);
}

int main(int count, char **words) {
  const char *mode = count > 1 ? words[1] : "";
  prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY, 0, 0, 0);
  if (strcmp(mode, "parent") == 0) run_parent(words + 2);
  if (strcmp(mode, "no-ptrace") == 0) refuse_ptrace(words + 2);
  listen_to(SIGUSR1, on_signal);
  say_pid();
  if (strcmp(mode, "waiting") == 0) run_waiting();
  if (strcmp(mode, "leader-exits") == 0) run_leader_exits();
  if (strcmp(mode, "churn") == 0) run_churn();
  map_pages();
  printf("ready\n");
  fflush(stdout);
  answer();
}
