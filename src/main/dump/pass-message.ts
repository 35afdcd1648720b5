/** The fields that the tasks of all workers of a pass have in common. */
import type { PassTask } from '../../shared/dump/tasks/pass-task.ts';
import type { TaskFields } from '../crew/phase.ts';
import { loadDigestKernels, loadKernels } from '../package/kernels.ts';
import type { Dump } from './engine.ts';
import type { DescribedMm, PassTables } from './pass-tables.ts';
import type { Plan } from './plan.ts';
import type { DumpPhase } from './report.ts';

/** The fields that may differ between a counting pass and the pass that follows it. */
export type PassStage = Pick<
  PassTask,
  'anonIds' | 'isCounted' | 'kept' | 'packed' | 'keepsPacked' | 'parent' | 'target'
>;

/** The tasks of a pass, except for what each worker has of its own. */
export function passMessage(
  { options }: Dump,
  mms: readonly DescribedMm[],
  { owners }: Plan,
  tables: PassTables,
  stage: PassStage,
): Omit<TaskFields<DumpPhase>, 'running' | 'reservations' | 'ferry'> {
  const { detectZero, unsupported, hugetlb, dontDump, blockPerPage, format, digest, compress } =
    options;
  const { units, unitCount, unitPages, firstUnits, tallies, vmaBases, names, leads, firstMm } =
    tables;
  return {
    machine: mms[0]!.mm.machine.handle,
    kernels: loadKernels(),
    digestKernels: loadDigestKernels(),
    mms: mms.map(({ mm }) => mm.slot),
    units,
    unitCount,
    unitPages,
    firstUnits,
    owners,
    detectZero,
    unsupported,
    hugetlb,
    dontDump,
    blockPerPage,
    format,
    digest,
    compress,
    tallies,
    vmaBases,
    names,
    leads,
    firstMm,
    lookBack: tables.lookBack,
    reportsRuns: (mms.length > 1 || format === 'elf') && !stage.isCounted,
    ...stage,
  };
}
