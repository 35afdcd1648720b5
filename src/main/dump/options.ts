/** The options of a dump: defaults and validation. */
import type { UnsupportedPolicy } from '../../shared/dump/tasks.ts';
import { MmdumpError } from '../../shared/errors.ts';
import { GRANULE_PAGES, GRANULE_SIZE, MiB } from '../../shared/page.ts';
import type { DumpProgress } from '../report.ts';
import { NoSink } from '../sinks/no-sink.ts';
import type { Sink } from '../sinks/sink.ts';
import type { JobOptions } from '../stop.ts';

export interface DumpOptions extends JobOptions {
  /** Where the image goes. */
  readonly to: Sink;
  /** 'detect' (default): pages of zeros are recorded, not stored. 'copy': stored as they are. */
  readonly zeroPages?: 'detect' | 'copy';
  /** 'crc32' (default): every block of pages carries a checksum. */
  readonly checksum?: 'crc32' | 'none';
  /** 'run' (default): one block per run of pages of one class. 'page': one block per page. */
  readonly blocks?: 'run' | 'page';
  /**
   * What to do about pages that no rule can store. Default 'fail'. 'skip' lists them in the report; in
   * the image they read as absent pages do, as zeros in anonymous memory.
   */
  readonly unsupported?: UnsupportedPolicy;
  /**
   * What to do about VM_HUGETLB mappings. Default 'fail'. 'skip' leaves all their pages out and lists
   * the mappings in the report; reading one from the image is PAGE_ABSENT.
   */
  readonly hugetlb?: UnsupportedPolicy;
  /**
   * true (default): the machine stands still, the image shows one instant. false: other threads go on
   * meanwhile, save for what needs an mmap lock for writing; see docs/ARCHITECTURE.md for what such an
   * image promises.
   */
  readonly freeze?: boolean;
  /**
   * Honours VM_DONTDUMP: such mappings are described, none of their pages is stored, and the report
   * lists them; reading one from the image is PAGE_ABSENT. Default false.
   */
  readonly dontDump?: boolean;
  /** Bytes: a larger image is refused with SIZE_LIMIT before anything of it is written. */
  readonly sizeLimit?: number;
  /** Address space of a work unit, whole granules of 2 MiB. Default 4 MiB. Changes no byte. */
  readonly unitBytes?: number;
  /**
   * Names the mm in the report, several with their ordinals behind it; or a name for each, in their
   * order. Default 'mm'.
   */
  readonly source?: string | readonly string[];
  /** Called at most ten times per second, and once more at the end of each phase. */
  readonly onProgress?: ((progress: DumpProgress) => void) | undefined;
}

/** A dump without an output. */
export type EstimateOptions = Omit<DumpOptions, 'to'>;

export interface ResolvedOptions {
  readonly to: Sink;
  readonly detectZero: boolean;
  readonly payloadCrc: boolean;
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

/** Checks every option and fills in the defaults. OPTION_INVALID names the first that is wrong. */
export function resolveOptions(options: DumpOptions): ResolvedOptions {
  const { unitBytes = 2 * GRANULE_SIZE, sizeLimit, dontDump = false } = options;
  if (typeof dontDump !== 'boolean') throw invalid('dontDump', dontDump, 'true or false');
  if (sizeLimit !== undefined && (!Number.isSafeInteger(sizeLimit) || sizeLimit < 0)) {
    throw invalid('sizeLimit', sizeLimit, 'a number of bytes');
  }
  if (!Number.isSafeInteger(unitBytes) || unitBytes <= 0 || unitBytes > MAX_UNIT) {
    throw invalid('unitBytes', unitBytes, `2 MiB to ${MAX_UNIT / MiB} MiB`);
  }
  if (unitBytes % GRANULE_SIZE !== 0) throw invalid('unitBytes', unitBytes, 'a multiple of 2 MiB');
  return {
    to: options.to,
    detectZero: oneOf('zeroPages', options.zeroPages, ['detect', 'copy']) === 'detect',
    payloadCrc: oneOf('checksum', options.checksum, ['crc32', 'none']) === 'crc32',
    blockPerPage: oneOf('blocks', options.blocks, ['run', 'page']) === 'page',
    unsupported: oneOf('unsupported', options.unsupported, POLICIES),
    hugetlb: oneOf('hugetlb', options.hugetlb, POLICIES),
    freeze: flag('freeze', options.freeze, true),
    dontDump,
    sizeLimit,
    dryRun: options.to instanceof NoSink,
    unitPages: (unitBytes / GRANULE_SIZE) * GRANULE_PAGES,
    source: options.source ?? 'mm',
    signal: options.signal,
    onProgress: options.onProgress,
  };
}

/** The value, or the first of the allowed ones as default. */
function oneOf<T extends string>(name: string, value: T | undefined, allowed: readonly T[]): T {
  if (value === undefined) return allowed[0]!;
  if (allowed.includes(value)) return value;
  throw invalid(name, value, allowed.join(' or '));
}

function flag(name: string, value: boolean | undefined, whenAbsent: boolean): boolean {
  if (value === undefined) return whenAbsent;
  if (typeof value === 'boolean') return value;
  throw invalid(name, value, 'true or false');
}

function invalid(name: string, value: unknown, expected: string): MmdumpError {
  return new MmdumpError('OPTION_INVALID', `${name}: ${String(value)}: expected ${expected}`);
}
