/** Which process a pid means: it stays the same process to the end, or an error says that it ended. */
import { closeSync } from 'node:fs';
import { constants } from 'node:os';
import { hasEnded, openPidfd, sendSignal } from '../../shared/native/pidfd.ts';
import { processGone, readStat } from './proc.ts';
import { groupOf } from './threads.ts';

/**
 * One process. A descriptor of it is kept where the kernel gives one, since it never means another
 * process. Otherwise a pid and the time at which its process began say which one it is.
 */
export class ProcessIdentity {
  /** The id by which it was found, which may be a thread's. */
  readonly pid: number;
  /** The pid of the process. */
  readonly group: number;
  readonly #startTime: string;
  #pidfd: number;

  private constructor(pid: number, group: number, startTime: string, pidfd: number) {
    this.pid = pid;
    this.group = group;
    this.#startTime = startTime;
    this.#pidfd = pidfd;
  }

  /** PROCESS_NOT_FOUND, PROCESS_DENIED. It has to be closed. */
  static async of(pid: number): Promise<ProcessIdentity> {
    const group = await groupOf(pid);
    const pidfd = openPidfd(group);
    try {
      const { startTime } = await readStat(pid);
      return new ProcessIdentity(pid, group, startTime, pidfd);
    } catch (error) {
      if (pidfd >= 0) closeSync(pidfd);
      throw error;
    }
  }

  /** PROCESS_GONE if the process has ended, or its pid now belongs to another process. */
  async assertAlive(): Promise<void> {
    if (this.#pidfd >= 0 && hasEnded(this.#pidfd)) throw processGone(this.pid);
    const now = await readStat(this.pid).catch(() => undefined);
    if (now?.startTime === this.#startTime && now.state !== 'Z' && now.state !== 'X') return;
    throw processGone(this.pid);
  }

  /** Sends a signal to the process. Throws as process.kill does. */
  signal(name: 'SIGSTOP' | 'SIGCONT'): void {
    if (this.#pidfd >= 0 && sendSignal(this.#pidfd, constants.signals[name])) return;
    if (this.#pidfd >= 0 && hasEnded(this.#pidfd)) throw processGone(this.pid);
    process.kill(this.pid, name);
  }

  close(): void {
    if (this.#pidfd < 0) return;
    closeSync(this.#pidfd);
    this.#pidfd = -1;
  }
}
