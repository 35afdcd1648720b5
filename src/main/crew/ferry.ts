/**
 * The owner's end of ferries (`shared/dump/ferry.ts`). While the workers of a phase need frames in
 * memory that is not shared, the thread that called the dumper carries them, and stays responsive:
 * it never blocks, and lets the event loop run every few milliseconds.
 */
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { MachineParts } from '../../mmu/mm/machine-parts.ts';
import { carryLoad } from '../../mmu/physical/carry.ts';
import {
  BERTHS,
  type Berth,
  berthsOf,
  berthWords,
  type FerryReach,
} from '../../shared/dump/ferry.ts';
import { PAGE_SIZE } from '../../shared/page.ts';
import { waitAsync } from '../../shared/sync/wait.ts';
import { Memory, WASM_PAGE, type WasmMemory } from '../../shared/wasm.ts';

/** Milliseconds after which the event loop gets its turn. */
const STRETCH_MS = 5;

/** Buffers that are not in use, which stay warm from phase to phase. */
export class FerryBuffers {
  readonly #free: WasmMemory[] = [];

  /** Takes a buffer of at least `bytes` bytes. */
  take(bytes: number): WasmMemory {
    const at = this.#free.findIndex(({ buffer }) => buffer.byteLength >= bytes);
    if (at >= 0) return this.#free.splice(at, 1)[0]!;
    const pages = Math.ceil(bytes / WASM_PAGE);
    return new Memory({ initial: pages, maximum: pages, shared: true });
  }

  /** Takes a buffer back that no worker uses any more. */
  give(memory: WasmMemory): void {
    this.#free.push(memory);
  }
}

/** What one worker asks for. */
interface Passenger {
  readonly machine: MachineParts;
  readonly reach: FerryReach;
  readonly berths: readonly Berth[];
  readonly buffer: Uint8Array;
}

/** The ferries of one phase. */
export class Ferry {
  readonly #buffers: FerryBuffers;
  readonly #bell = new SharedArrayBuffer(4);
  readonly #passengers: Passenger[] = [];
  /** Why a load could not be carried: BANK_UNREACHABLE. */
  #failure: unknown;

  constructor(buffers: FerryBuffers) {
    this.#buffers = buffers;
  }

  /**
   * What one worker is given for frames of `machine`, with berths of `pages` pages. Undefined if it
   * needs no ferry, since all memory of the machine is shared.
   */
  reach(machine: MachineParts, pages: number): FerryReach | undefined {
    const { firstUnshared, frames } = machine.memory;
    if (firstUnshared === frames) return undefined;
    const berths = new SharedArrayBuffer(berthWords(pages) * BERTHS * 4);
    const memory = this.#buffers.take(pages * BERTHS * PAGE_SIZE);
    const reach = { berths, bell: this.#bell, memory, pages };
    const buffer = new Uint8Array(memory.buffer);
    this.#passengers.push({ machine, reach, berths: berthsOf(berths, pages), buffer });
    return reach;
  }

  /**
   * Carries what the workers ask for while `work` runs, and settles as `work` does. Where a load
   * could not be carried it calls `stop`, so that the workers end early, and rejects with the reason.
   */
  async whileRunning<T>(work: Promise<T>, stop: () => void): Promise<T> {
    if (this.#passengers.length === 0) return await work;
    const over = new AbortController();
    const serving = this.#serve(over.signal, stop);
    const [outcome] = await Promise.allSettled([work.finally(() => over.abort(OVER)), serving]);
    for (const { reach } of this.#passengers.splice(0)) this.#buffers.give(reach.memory);
    if (this.#failure !== undefined) throw this.#failure;
    if (outcome.status === 'rejected') throw outcome.reason;
    return outcome.value;
  }

  /** Carries loads until the workers have ended. */
  async #serve(over: AbortSignal, stop: () => void): Promise<void> {
    const bell = new Int32Array(this.#bell);
    let since = performance.now();
    while (!over.aborted) {
      const seen = Atomics.load(bell, 0); // first, so that no later request is missed
      if (!this.#carryAll(stop)) {
        // It rejects when the workers have ended.
        await waitAsync(bell, 0, seen, over).catch(() => {});
        since = performance.now();
      } else if (performance.now() - since > STRETCH_MS) {
        await nextTurn();
        since = performance.now();
      }
    }
  }

  /** Carries every load that is asked for. False if there is none. */
  #carryAll(stop: () => void): boolean {
    let found = false;
    for (const { machine, berths, buffer } of this.#passengers) {
      for (const berth of berths) {
        if (!berth.isAsked) continue;
        found = true;
        try {
          carryLoad(machine.memory, berth, buffer);
          berth.done(true);
        } catch (error) {
          this.#failure ??= error;
          stop();
          berth.done(false);
        }
      }
    }
    return found;
  }
}

/** The reason that the service is given at the end. An error would be made with a stack each time. */
const OVER = 'the phase is over';
