/** The options of a dump: defaults and validation. */
import {
  flag,
  isArray,
  list,
  listener,
  objectWith,
  oneOf,
  optional,
  text,
  wholeNumber,
} from '../../shared/arguments/checks.ts';
import type { Shape } from '../../shared/arguments/options.ts';
import { refusal } from '../../shared/arguments/refuse.ts';
import { type DigestKind, type DigestName, digestKindOf } from '../../shared/digest/digest-kind.ts';
import type { UnsupportedPolicy } from '../../shared/dump/tasks.ts';
import { GRANULE_PAGES, GRANULE_SIZE, MiB } from '../../shared/page.ts';
import { JOB_OPTIONS, type JobOptions } from '../job/stop.ts';
import { NoSink } from '../sinks/no-sink.ts';
import type { Sink } from '../sinks/sink.ts';
import type { DumpProgress } from './report.ts';

/** Options of a dump. */
export interface DumpOptions extends JobOptions {
  /** Where the image goes. */
  readonly to: Sink;
  /** 'detect' (default): pages of zeros are recorded, not stored. 'copy': stored as they are. */
  readonly zeroPages?: 'detect' | 'copy' | undefined;
  /**
   * What every block carries over its pages. 'xxh3' (default): XXH3-64, at the speed of memory;
   * 'crc32': as other programs know it, several times slower; 'none': nothing, damage is not found.
   */
  readonly checksum?: DigestName | undefined;
  /** 'run' (default): one block per run of pages of one class. 'page': one block per page. */
  readonly blocks?: 'run' | 'page' | undefined;
  /**
   * What to do about pages that no rule can store. Default 'fail'. 'skip' lists them in the report; in
   * the image they read as absent pages do, as zeros in anonymous memory.
   */
  readonly unsupported?: UnsupportedPolicy | undefined;
  /**
   * What to do about VM_HUGETLB mappings. Default 'fail'. 'skip' leaves all their pages out and lists
   * the mappings in the report; reading one from the image is PAGE_ABSENT.
   */
  readonly hugetlb?: UnsupportedPolicy | undefined;
  /**
   * true (default): the machine stands still, the image shows one instant. false: other threads go on
   * meanwhile, save for what needs an mmap lock for writing; docs/decisions/dumping.md, "Without
   * freezing", says what such an image promises.
   */
  readonly freeze?: boolean | undefined;
  /**
   * Honours VM_DONTDUMP: such mappings are described, none of their pages is stored, and the report
   * lists them; reading one from the image is PAGE_ABSENT. Default false.
   */
  readonly dontDump?: boolean | undefined;
  /** Bytes: a larger image is refused with SIZE_LIMIT before anything of it is written. */
  readonly sizeLimit?: number | undefined;
  /** Address space of a work unit, whole granules of 2 MiB. Default 4 MiB. Changes no byte. */
  readonly unitBytes?: number | undefined;
  /**
   * Names the mm in the report, several with their ordinals behind it; or a name for each, in their
   * order. Default 'mm'.
   */
  readonly source?: string | readonly string[] | undefined;
  /** Called at most ten times per second, and once more at the end of each phase. */
  readonly onProgress?: ((progress: DumpProgress) => void) | undefined;
}

/** A dump without an output. */
export type EstimateOptions = Omit<DumpOptions, 'to'>;

export interface ResolvedOptions {
  readonly to: Sink;
  readonly detectZero: boolean;
  readonly digest: DigestKind;
  readonly blockPerPage: boolean;
  readonly unsupported: UnsupportedPolicy;
  readonly hugetlb: UnsupportedPolicy;
  readonly freeze: boolean;
  readonly dontDump: boolean;
  readonly sizeLimit: number | undefined;
  /** Nothing is written: see `estimate`. */
  readonly dryRun: boolean;
  readonly unitPages: number;
  readonly source: string | readonly string[];
  readonly signal: AbortSignal | undefined;
  readonly onProgress: ((progress: DumpProgress) => void) | undefined;
}

const POLICIES = ['fail', 'skip', 'copy'] as const;
const MAX_UNIT = 64 * MiB;
const NAMES = list(text);
const SINK = objectWith<Sink>(
  ['open', 'reserve', 'commit', 'abort'],
  'a sink, as fileSink(path), splitSink, memorySink and streamSink make one',
);

/** Every option of a dump. */
export const DUMP_OPTIONS: Shape<DumpOptions> = {
  to: SINK,
  zeroPages: optional(oneOf(['detect', 'copy'])),
  checksum: optional(oneOf(['xxh3', 'crc32', 'none'])),
  blocks: optional(oneOf(['run', 'page'])),
  unsupported: optional(oneOf(POLICIES)),
  hugetlb: optional(oneOf(POLICIES)),
  freeze: optional(flag),
  dontDump: optional(flag),
  sizeLimit: optional(wholeNumber(0)),
  unitBytes: optional(unitBytes),
  source: optional((what, value) => (isArray(value) ? NAMES : text)(what, value)),
  ...JOB_OPTIONS,
  onProgress: listener(),
};

const { to: _, ...WITHOUT_SINK } = DUMP_OPTIONS;
export const ESTIMATE_OPTIONS: Shape<EstimateOptions> = WITHOUT_SINK;

function unitBytes(what: string, value: unknown): number {
  const bytes = wholeNumber(GRANULE_SIZE, MAX_UNIT)(what, value);
  if (bytes % GRANULE_SIZE === 0) return bytes;
  throw refusal(what, value, 'a multiple of 2 MiB');
}

/** Fills in the defaults of options that were checked. */
export function resolveOptions(options: DumpOptions): ResolvedOptions {
  const { unitBytes = 2 * GRANULE_SIZE, unsupported = 'fail', hugetlb = 'fail' } = options;
  return {
    to: options.to,
    detectZero: options.zeroPages !== 'copy',
    digest: digestKindOf(options.checksum ?? 'xxh3'),
    blockPerPage: options.blocks === 'page',
    unsupported,
    hugetlb,
    freeze: options.freeze ?? true,
    dontDump: options.dontDump ?? false,
    sizeLimit: options.sizeLimit,
    dryRun: options.to instanceof NoSink,
    unitPages: (unitBytes / GRANULE_SIZE) * GRANULE_PAGES,
    source: options.source ?? 'mm',
    signal: options.signal,
    onProgress: options.onProgress,
  };
}
