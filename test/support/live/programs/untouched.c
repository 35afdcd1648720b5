/*
 * untouched [--unlink] FILE...
 *
 * Maps each whole file shared and read-only, and touches none of its pages. With --unlink it then
 * removes the names. Prints "region FILE START PAGES" per file, then "ready", and waits until its
 * standard input ends.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

static void die(const char *what) {
  perror(what);
  exit(1);
}

int main(int count, char **words) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  int first = 1;
  int unlinks = count > 1 && strcmp(words[1], "--unlink") == 0;
  if (unlinks) first = 2;
  for (int i = first; i < count; i++) {
    struct stat info;
    int fd = open(words[i], O_RDONLY);
    if (fd < 0 || fstat(fd, &info)) die(words[i]);
    void *start = mmap(NULL, info.st_size, PROT_READ, MAP_SHARED, fd, 0);
    if (start == MAP_FAILED) die("mmap");
    close(fd);
    if (unlinks && unlink(words[i])) die("unlink");
    printf("region %s %lx %lu\n", words[i], (unsigned long)start, (info.st_size + 4095UL) / 4096);
  }
  printf("ready\n");
  fflush(stdout);
  while (getchar() != EOF) continue;
  return 0;
}
