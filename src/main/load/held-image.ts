/**
 * Images that stay open, because pages of a machine lie in them (`load: 'on-demand'`).
 */
import { BACKING_KIND } from '../../mmu/backing/backing-table.ts';
import { onMachineEnd } from '../../mmu/machine/lifetime.ts';
import { passGateAsync } from '../../mmu/mm/hold.ts';
import type { MachineParts } from '../../mmu/mm/machine-parts.ts';
import { refusal } from '../../shared/arguments/refuse.ts';
import { MmdumpError } from '../../shared/errors.ts';
import type { ImageContents } from '../image/read/image-contents.ts';
import type { StayingPages } from './staying-pages.ts';

/** OPTION_INVALID for an image whose bytes the other threads of a machine cannot reach. */
export function assertReachable({ source }: ImageContents): void {
  if (source.reach.kind !== 'memory') return;
  throw refusal(
    'load',
    'on-demand',
    "'now' for an image in memory, which other threads of the machine cannot reach; " +
      'or dump to a file',
  );
}

/** What an image in use is made of. */
interface Held {
  readonly machine: MachineParts;
  /** Number of the backing. */
  readonly backing: number;
  /** Place of its table in the store. */
  readonly table: number;
  readonly letGo: () => Promise<void>;
}

/** An image that is a backing of a machine, until it is released. */
export class HeldImage {
  readonly #held: Held;
  readonly #deaf: () => void;
  #released: Promise<void> | undefined;

  constructor(held: Held) {
    this.#held = held;
    this.#deaf = letGoAtEnd(held.machine.id, held.letGo);
  }

  /** Number of the backing. */
  get backing(): number {
    return this.#held.backing;
  }

  /**
   * Makes the image, with its ancestors, a backing. `pages` are those that stay there. Rejects with
   * ENOSPC if the store of the machine is full, and with EMFILE.
   */
  static async add(
    machine: MachineParts,
    image: ImageContents,
    pages: StayingPages,
    signal: AbortSignal | undefined,
  ): Promise<HeldImage> {
    const bytes = pages.table();
    const letGo = image.hold();
    try {
      return await passGateAsync(
        machine,
        (thread) => {
          const table = machine.store.add(bytes, thread);
          try {
            const fields = { kind: BACKING_KIND.IMAGE, fd: -1, pid: 0, table, bytes: bytes.length };
            const backing = machine.backings.add(fields);
            return new HeldImage({ machine, backing, table, letGo });
          } catch (error) {
            machine.store.put(table, thread);
            throw error;
          }
        },
        signal,
      );
    } catch (error) {
      await letGo();
      throw error;
    }
  }

  /** Ends the backing: pages that nobody has loaded are lost. The image may be closed then. */
  release(): Promise<void> {
    this.#released ??= this.#release();
    return this.#released;
  }

  async #release(): Promise<void> {
    this.#deaf();
    const { machine, backing, table, letGo } = this.#held;
    machine.backings.release(backing);
    await letGo();
    try {
      await passGateAsync(machine, (thread) => machine.store.put(table, thread));
    } catch (error) {
      // The store goes with the machine.
      if (!(error instanceof MmdumpError) || !GONE.has(error.code)) throw error;
    }
  }
}

/**
 * Lets go of the image when the machine ends. What waits for that must not refer to the machine,
 * which could not be collected otherwise.
 */
function letGoAtEnd(machine: string, letGo: () => Promise<void>): () => void {
  const deaf = onMachineEnd(async (ended) => {
    if (ended !== machine) return;
    deaf();
    await letGo().catch(() => {}); // nobody waits for this end
  });
  return deaf;
}

const GONE: ReadonlySet<string> = new Set(['MACHINE_CLOSED', 'MACHINE_POISONED']);
