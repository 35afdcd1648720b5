/** Searches address spaces of a machine with all workers, at one instant. */
import { protFlags } from '../../mmu/arguments/prot.ts';
import type { MmReference } from '../../mmu/machine/enter.ts';
import type { Mm } from '../../mmu/mm/mm.ts';
import { GRANULE_PAGES } from '../../shared/page.ts';
import { throwIfAborted } from '../../shared/sync/wait.ts';
import { Ferry } from '../crew/ferry.ts';
import type { WorkerPool } from '../crew/pool.ts';
import { type PlanOptions, planDump } from '../dump/plan.ts';
import { assertOneMachine } from '../job/handle-arguments.ts';
import { withHeldMms } from '../job/held-mms.ts';
import { assertSources } from '../job/page-sources.ts';
import { Yielder } from '../job/stop.ts';
import type { Wanted } from './pattern.ts';
import {
  expressionFor,
  lengthsOf,
  MATCHES_MAX,
  rangeOf,
  type SearchResult,
  type SpaceSearchOptions,
} from './search.ts';
import { findBytes, findExpression, type PlannedSearch } from './search-phases.ts';
import { pagesBehind, SpaceUnits, spaceRanges } from './space-units.ts';

/** The plan leaves out VM_IO mappings only. */
const PLAN: PlanOptions = {
  unitPages: GRANULE_PAGES,
  hugetlb: 'copy',
  dontDump: false,
  freeze: true,
};

/** Searches address spaces of one machine, which is frozen until it is done. */
export async function searchSpacesWith(
  pool: WorkerPool,
  references: readonly MmReference[],
  pattern: Wanted,
  options: SpaceSearchOptions,
): Promise<SearchResult> {
  const { signal } = options;
  assertOneMachine(references, options.mm ?? 0);
  const { machine } = references[0]!;
  machine.memory.assertReachesAll();
  return await withHeldMms(references, true, signal, async (mms) => {
    const result = await searchHeld(pool, mms, pattern, options);
    await assertSources(machine.id);
    return result;
  });
}

async function searchHeld(
  pool: WorkerPool,
  mms: readonly Mm[],
  pattern: Wanted,
  options: SpaceSearchOptions,
): Promise<SearchResult> {
  const { mm, prot = '', signal, onProgress } = options;
  const flags = protFlags(prot);
  const lengths = lengthsOf(pattern, options);
  const units = new SpaceUnits(lengths);
  const yielder = new Yielder(signal);
  for (const [ordinal, each] of mms.entries()) {
    if (mm !== undefined && mm !== ordinal) continue;
    const plan = await planDump([each], PLAN, yielder);
    await units.add(ordinal, plan.units, spaceRanges(each, flags, rangeOf(options)), yielder);
  }
  const { count: unitCount, totalBytes, unitBytes, table } = units;
  const crew = pool.crew({
    units: unitCount,
    bytes: totalBytes,
    mayRunHere: pattern.kind === 'bytes',
  }); // an expression may take long
  const { machine } = mms[0]!;
  const unitPages = GRANULE_PAGES + pagesBehind(lengths.longest);
  const spaces = { machine: machine.handle, slots: mms.map(({ slot }) => slot), flags, unitPages };
  const planned: PlannedSearch = {
    pool,
    crew,
    ferry: () => new Ferry(pool.ferryBuffers),
    taskOf: (ferry) => ({
      image: undefined,
      spaces: { ...spaces, ferry: crew.here ? undefined : ferry?.reach(machine, unitPages) },
      ...{ units: table, unitCount, unitBytes, most: options.maxMatches ?? MATCHES_MAX },
    }),
  };
  const tell =
    onProgress &&
    (({ bytes }: { readonly bytes: number }) => {
      onProgress({ bytes, totalBytes });
    });
  const found =
    pattern.kind === 'bytes'
      ? await findBytes(planned, pattern.bytes, { signal, onProgress: tell })
      : await findExpression(planned, expressionFor(pattern, options), {
          signal,
          onProgress: tell,
        });
  throwIfAborted(signal); // it may have fired in the last call of `onProgress`
  return { ...found, bytes: totalBytes };
}
