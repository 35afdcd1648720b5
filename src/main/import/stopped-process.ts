/**
 * A process that stands still while it is read, and goes on in any case: when the work is done, when
 * it fails, and when the importing process ends meanwhile. One that was stopped before stays stopped
 * afterwards.
 *
 * It is traced where that is possible (`trace-hold.ts`), and gets SIGSTOP otherwise
 * (`signal-hold.ts`).
 */
import { ProcessIdentity } from './process-identity.ts';
import { SignalHold } from './signal-hold.ts';
import { type HeldThread, NotTraceable, TraceHold } from './trace-hold.ts';

/** How a process was stopped. */
export interface StopReport {
  /** 'ptrace', or 'signal': SIGSTOP, if it was not stopped before. null if it was not stopped. */
  readonly stoppedBy: 'ptrace' | 'signal' | null;
  /** Why it was not stopped by ptrace, as the end of "since …"; null otherwise. */
  readonly notTraced: string | null;
}

/** That of a process that was not stopped. */
export const NOT_STOPPED: StopReport = { stoppedBy: null, notTraced: null };

/** A process that stands still from `standStill` to `release`. */
export class StoppedProcess {
  readonly #identity: ProcessIdentity;
  #hold: TraceHold | SignalHold;
  #notTraced: string | null;
  /** When every thread stood still, as `performance.now()` counts. */
  standingSince = 0;

  private constructor(
    identity: ProcessIdentity,
    hold: TraceHold | SignalHold,
    notTraced: string | null,
  ) {
    this.#identity = identity;
    this.#hold = hold;
    this.#notTraced = notTraced;
  }

  /** The id by which the process was given, which may be that of a thread. */
  get pid(): number {
    return this.#identity.pid;
  }

  /** The pid of the process. */
  get group(): number {
    return this.#identity.group;
  }

  /** Asks the process to stop; `standStill` waits until it has. */
  static async stop(pid: number): Promise<StoppedProcess> {
    const identity = await ProcessIdentity.of(pid);
    try {
      const hold = await TraceHold.begin(identity).catch(reasonOfRefusal);
      if (hold instanceof TraceHold) return new StoppedProcess(identity, hold, null);
      return new StoppedProcess(identity, await SignalHold.begin(identity), hold);
    } catch (error) {
      identity.close();
      throw error;
    }
  }

  /** Resolves once no thread of the process runs. */
  async standStill(signal: AbortSignal | undefined): Promise<void> {
    const refused = await this.#hold.standStill(signal).catch(reasonOfRefusal);
    if (typeof refused === 'string') {
      // Another program has seized one of its threads in the meantime.
      this.#hold.release();
      this.#notTraced = refused;
      this.#hold = await SignalHold.begin(this.#identity);
      await this.#hold.standStill(signal);
    }
    this.standingSince = performance.now();
  }

  /** PROCESS_GONE or PROCESS_RESUMED unless the process has stood still since `standStill`. */
  async assertStoodStill(): Promise<void> {
    await this.#identity.assertAlive();
    await this.#hold.assertStoodStill();
  }

  /** Its threads, whose registers can be read; empty if it is not traced. */
  threads(): readonly HeldThread[] {
    return this.#hold instanceof TraceHold ? this.#hold.threads() : [];
  }

  get report(): StopReport {
    const stoppedBy = this.#hold instanceof TraceHold ? 'ptrace' : 'signal';
    return { stoppedBy, notTraced: this.#notTraced };
  }

  /** Lets the process go on, unless it was stopped before. Never fails. */
  release(): void {
    this.#hold.release();
    this.#identity.close();
  }
}

/** The reason why a process cannot be traced. Throws every other error. */
function reasonOfRefusal(error: unknown): string {
  if (error instanceof NotTraceable) return error.reason;
  throw error;
}
