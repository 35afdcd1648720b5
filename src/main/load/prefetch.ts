/** Prefetches on the workers of a dumper (`AddressSpace.prefetch`). */
import { onMachineEnd, whileInUse } from '../../mmu/machine/lifetime.ts';
import {
  type BackedParts,
  type Prefetcher,
  type PrefetchOptions,
  type PrefetchResult,
  setPrefetcher,
} from '../../mmu/machine/prefetch.ts';
import type { MmReference } from '../../mmu/mm/hold.ts';
import { NO_DIGEST } from '../../shared/digest/digest-kind.ts';
import { LOAD, LoadList } from '../../shared/dump/load-table.ts';
import { PAGE_SIZE } from '../../shared/page.ts';
import { throwIfAborted } from '../../shared/sync/wait.ts';
import type { WorkerPool } from '../crew/pool.ts';
import type { JobQueue } from '../job/job-queue.ts';
import type { PhaseProgress } from '../job/progress.ts';
import { runLoadPhase } from './load-phase.ts';

/** Lets the workers of a pool load the pages of these parts of an mm that nobody has loaded yet. */
async function prefetchWith(
  pool: WorkerPool,
  reference: MmReference,
  parts: BackedParts,
  { signal, onProgress }: PrefetchOptions,
): Promise<PrefetchResult> {
  const { machine } = reference;
  const list = new LoadList();
  for (const part of parts) list.add({ ...PREFETCH, ...part });
  const totalPages = list.totalPages();
  return await whileInUse(machine, async () => {
    // The workers read the pages by the backing that each entry names, not through this source.
    const source = { kind: 'file', name: 'a backing', fd: -1 } as const;
    const reports = await runLoadPhase(pool, [reference], source, list, {
      signal,
      onProgress: onProgress && (({ pages }: PhaseProgress) => onProgress({ pages, totalPages })),
    });
    throwIfAborted(signal);
    if (parts.length === 0) onProgress?.({ pages: 0, totalPages });
    const bytes = reports.reduce((sum, report) => sum + report.bytes, 0);
    return { pages: bytes / PAGE_SIZE };
  });
}

const PREFETCH = {
  mm: 0,
  kind: LOAD.PREFETCH,
  flags: 0,
  source: 0,
  file: 0,
  index: 0,
  ...NO_DIGEST,
};

/** The machines for which a dumper prefetches. */
export class Prefetchers {
  readonly #prefetcher: Prefetcher;
  /** By the id of the machine: ends the registration. */
  readonly #ends = new Map<string, () => void>();
  readonly #deaf: () => void;

  /** A prefetch is a job of the queue. */
  constructor(pool: WorkerPool, queue: JobQueue) {
    this.#prefetcher = (reference, parts, options) => {
      return queue.run({ signal: options.signal }, 'prefetch', ({ signal }) => {
        return prefetchWith(pool, reference, parts, { ...options, signal });
      });
    };
    this.#deaf = onMachineEnd(async (machine) => this.#end(machine));
  }

  /** Prefetches for a machine from now on. */
  serve({ id }: { readonly id: string }): void {
    this.#end(id);
    this.#ends.set(id, setPrefetcher(id, this.#prefetcher));
  }

  /** From now on the threads of the machines' users load pages themselves. */
  close(): void {
    this.#deaf();
    for (const machine of [...this.#ends.keys()]) this.#end(machine);
  }

  #end(machine: string): void {
    this.#ends.get(machine)?.();
    this.#ends.delete(machine);
  }
}
