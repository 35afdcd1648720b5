/* A process to be read: so many bytes of memory that is not zero. Says when it is ready, then waits
   until its input ends. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(int argc, char **argv) {
  size_t bytes = argc > 1 ? strtoull(argv[1], NULL, 10) : 0;
  char *memory = malloc(bytes);
  if (memory == NULL) return 1;
  memset(memory, 0x5a, bytes);
  for (size_t at = 0; at < bytes; at += 4096) memory[at] = 1 + (at >> 12) % 255;
  puts("ready");
  fflush(stdout);
  while (getchar() != EOF) {}
  return memory[bytes / 2];
}
