/** The options of a dump: their checks and defaults. */
import type { SnapshotState } from '../../mmu/machine/snapshot-options.ts';
import {
  type Check,
  callback,
  flag,
  instanceOf,
  isArray,
  list,
  listener,
  oneOf,
  optional,
  text,
  wholeNumber,
} from '../../shared/arguments/checks.ts';
import type { Shape } from '../../shared/arguments/options.ts';
import { refusal } from '../../shared/arguments/refuse.ts';
import { copyState, STATE, type StateBlobs } from '../../shared/arguments/state-blobs.ts';
import {
  DIGEST,
  type DigestKind,
  type DigestName,
  digestKindOf,
} from '../../shared/digest/digest-kind.ts';
import type { PassFormat, UnsupportedPolicy } from '../../shared/dump/tasks/pass-task.ts';
import { MmdumpError } from '../../shared/errors.ts';
import { STATE_MAX_BYTES } from '../../shared/formats/cpt/records.ts';
import { GRANULE_PAGES, GRANULE_SIZE, MiB } from '../../shared/page.ts';
import { assertZstd } from '../../shared/zstd.ts';
import { Image } from '../image/image.ts';
import { JOB_OPTIONS, type JobOptions } from '../job/stop.ts';
import { SINK } from '../sinks/check-sink.ts';
import { NoSink } from '../sinks/no-sink.ts';
import type { Sink } from '../sinks/sink.ts';
import type { ChangesFound } from './changes.ts';
import type { DumpParent } from './parent.ts';
import type { DumpProgress } from './report.ts';

/** The format of an image: 'cpt' is the native one. docs/decisions tells of the others. */
export type ImageFormat = 'cpt' | 'elf' | 'openvz';

/** Options of a dump. */
export interface DumpOptions extends JobOptions {
  /** Where the image goes. */
  readonly to: Sink;
  /**
   * 'detect' (default): pages of zeros are recorded without their bytes. 'copy': they are stored
   * like other pages.
   */
  readonly zeroPages?: 'detect' | 'copy' | undefined;
  /**
   * The checksum that every block has of its pages. 'xxh3' (default): XXH3-64, at the speed of
   * memory. 'crc32': other programs can check it, but it is several times slower. 'none': there is
   * none, and damage is not found.
   */
  readonly checksum?: DigestName | undefined;
  /**
   * 'none' (default), or 'zstd': blocks are compressed at level 1, and those that do not shrink are
   * stored as they are. Node 22.15, 23.8 or later can write and read such blocks: ZSTD_MISSING.
   * Streams, parts, `sizeLimit` and `estimate` need the length of the image before its first byte: a
   * dump compresses all pages first, and keeps them in memory until they are written.
   */
  readonly compress?: 'none' | 'zstd' | undefined;
  /**
   * 'cpt' (default): the native image. 'elf': an ELF core file of one address space, which debuggers
   * read. 'openvz': a container file of OpenVZ 6, for sinks of kind file, split and memory; a native
   * image is made first, beside it, and removed. Neither has checksums and an id.
   */
  readonly format?: ImageFormat | undefined;
  /** 'run' (default): one block per run of pages of one class. 'page': one block per page. */
  readonly blocks?: 'run' | 'page' | undefined;
  /**
   * What to do about pages that no rule can store. 'fail' (default): the dump fails with
   * PAGE_UNSUPPORTED. 'skip': the report lists them, and in the image they read as absent pages do,
   * that is, as zeros in anonymous memory. 'copy': their bytes are stored where there are any.
   */
  readonly unsupported?: UnsupportedPolicy | undefined;
  /**
   * What to do about VM_HUGETLB mappings. 'fail' (default): the dump fails with HUGETLB_REFUSED.
   * 'skip': their pages are left out, the report lists the mappings, and reading one of the pages
   * from the image fails with PAGE_ABSENT. 'copy': they are dumped like other mappings.
   */
  readonly hugetlb?: UnsupportedPolicy | undefined;
  /**
   * true (default): the machine is frozen, and the image shows one instant. false: other threads go
   * on meanwhile, except where they need an mmap lock for writing. docs/decisions/dumping.md,
   * "Without freezing", says what such an image promises.
   */
  readonly freeze?: boolean | undefined;
  /**
   * 'fork': the machine stands still only while a snapshot is taken, in memory. The dump reads the
   * snapshot, and the image shows that instant. Shared memory and files are of later moments. It
   * needs a slot of `maxAddressSpaces` per address space, and cannot be combined with `freeze`.
   * Default: no snapshot is taken.
   */
  readonly pause?: 'fork' | undefined;
  /**
   * true: VM_DONTDUMP is honoured. The image describes such mappings without their pages, the
   * report lists them, and reading one of the pages from the image fails with PAGE_ABSENT. Default
   * false.
   */
  readonly dontDump?: boolean | undefined;
  /**
   * The most bytes that the image may have. A larger image is refused with SIZE_LIMIT before any
   * byte of it is written. Default: no limit.
   */
  readonly sizeLimit?: number | undefined;
  /**
   * The parent image, open. The new image records pages that are the same in the parent, at the same
   * address of the mm with the same ordinal, without their bytes. It needs the parent to be read, and
   * so does every image that it is the parent of. docs/decisions/chains.md says how the pages are
   * found. Default: no parent.
   */
  readonly parent?: Image | undefined;
  /**
   * State to put into the image beside memory, such as registers of an emulator's CPU: at most 1024
   * byte sequences under names of 1 to 255 bytes, and at most 1 GiB. The bytes are copied when `dump`
   * is called. A snapshot has its own. Other formats than 'cpt' hold none. Default: none.
   */
  readonly state?: SnapshotState | undefined;
  /**
   * How pages are found that are the same in the parent; the image is the same. 'auto' (default): by
   * dirty bits where they tell what has changed since the parent, else by the digests of all pages.
   * They tell it if this dumper has dumped the parent with `track`, with the same address spaces in
   * the same order, and nobody has taken dirty pages since. 'dirty': the dump is refused where they
   * do not, and with `zeroPages: 'copy'`. 'digests': the bits are not used. Without a parent it has no effect.
   */
  readonly changes?: 'auto' | 'dirty' | 'digests' | undefined;
  /**
   * true: all pages are clean from the instant of the image on, as after `dirty.take`, so that a
   * dump with this image as its parent looks at dirty pages only. From then on, whoever writes
   * frames without the machine has to mark them: `dirty.mark`, or `dirty` of `banks`. It needs an
   * image of one instant, and checksums. Default false.
   */
  readonly track?: boolean | undefined;
  /**
   * Bytes of address space in a work unit: a multiple of 2 MiB, at most 64 MiB. Default 4 MiB. It
   * does not change the image.
   */
  readonly unitBytes?: number | undefined;
  /**
   * Name of the mm in the report. If there are several mms, their ordinals are added to it. Or a
   * list with a name for each mm, in their order. Default 'mm'.
   */
  readonly source?: string | readonly string[] | undefined;
  /** Called at most ten times per second, and once more at the end of each phase. */
  readonly onProgress?: ((progress: DumpProgress) => void) | undefined;
  /**
   * Called once all pages were read and the mms are released, before the image is brought to the
   * disk and appears under its name. The dump waits for the promise that it returns. A process whose
   * pages were imported on demand can be released here.
   */
  readonly onCaptured?: (() => void | Promise<void>) | undefined;
}

/** Options of an estimate, which is a dump without an output. */
export type EstimateOptions = Omit<DumpOptions, 'to'>;

/** The options of a dump with their defaults filled in. */
export interface ResolvedOptions {
  readonly to: Sink;
  readonly detectZero: boolean;
  /** What the engine writes: for an OpenVZ file, the native image that it is made of. */
  readonly format: PassFormat;
  readonly digest: DigestKind;
  /** Blocks are compressed. */
  readonly compress: boolean;
  readonly blockPerPage: boolean;
  readonly unsupported: UnsupportedPolicy;
  readonly hugetlb: UnsupportedPolicy;
  readonly freeze: boolean;
  readonly pause: 'fork' | undefined;
  /** Whether the image shows one instant. */
  readonly isInstant: boolean;
  readonly dontDump: boolean;
  readonly sizeLimit: number | undefined;
  readonly parent: DumpParent | undefined;
  readonly state: StateBlobs;
  /** How to find the pages that have changed since the parent. */
  readonly changes: ChangesFound | 'auto';
  /** Pages are clean from the instant of the image on. */
  readonly track: boolean;
  /** Nothing is written: see `estimate`. */
  readonly dryRun: boolean;
  readonly unitPages: number;
  readonly source: string | readonly string[];
  readonly signal: AbortSignal | undefined;
  readonly onProgress: ((progress: DumpProgress) => void) | undefined;
  readonly onCaptured: (() => void | Promise<void>) | undefined;
}

const POLICIES = ['fail', 'skip', 'copy'] as const;
const MAX_UNIT = 64 * MiB;
const NAMES = list(text);

/** The checks of all options of a dump. */
export const DUMP_OPTIONS: Shape<DumpOptions> = {
  to: SINK,
  zeroPages: optional(oneOf(['detect', 'copy'])),
  checksum: optional(oneOf(['xxh3', 'crc32', 'none'])),
  compress: optional(oneOf(['none', 'zstd'])),
  format: optional(oneOf(['cpt', 'elf', 'openvz'])),
  blocks: optional(oneOf(['run', 'page'])),
  unsupported: optional(oneOf(POLICIES)),
  hugetlb: optional(oneOf(POLICIES)),
  freeze: optional(flag),
  pause: optional(oneOf(['fork'])) as Check<DumpOptions['pause']>,
  dontDump: optional(flag),
  sizeLimit: optional(wholeNumber(0)),
  parent: optional(instanceOf(Image, 'an Image')),
  state: optional(STATE),
  changes: optional(oneOf(['auto', 'dirty', 'digests'])),
  track: optional(flag),
  unitBytes: optional(unitBytes),
  source: optional((what, value) => (isArray(value) ? NAMES : text)(what, value)),
  ...JOB_OPTIONS,
  onProgress: listener(),
  onCaptured: callback(),
};

const { to: _, ...WITHOUT_SINK } = DUMP_OPTIONS;
/** The checks of all options of an estimate. */
export const ESTIMATE_OPTIONS: Shape<EstimateOptions> = WITHOUT_SINK;

/** Throws OPTION_INVALID if dirty bits are asked for where they cannot be used. */
export function assertNoBits(
  { track, changes }: Pick<DumpOptions, 'track' | 'changes'>,
  why: string,
): void {
  if (track !== true && changes !== 'dirty') return;
  const what = track === true ? 'track' : "changes: 'dirty'";
  const text = `${what}: ${why}: dump address spaces, with freeze: true or pause: 'fork'`;
  throw new MmdumpError('OPTION_INVALID', text);
}

function unitBytes(what: string, value: unknown): number {
  const bytes = wholeNumber(GRANULE_SIZE, MAX_UNIT)(what, value);
  if (bytes % GRANULE_SIZE === 0) return bytes;
  throw refusal(what, value, 'a multiple of 2 MiB');
}

/**
 * Fills in the defaults. Precondition: DUMP_OPTIONS or ESTIMATE_OPTIONS has checked the options.
 */
export function resolveOptions(options: DumpOptions): ResolvedOptions {
  if (options.pause !== undefined && options.freeze !== undefined) {
    throw refusal('pause', options.pause, "'fork' without the option freeze");
  }
  const {
    format = 'cpt',
    unitBytes = 2 * GRANULE_SIZE,
    unsupported = 'fail',
    hugetlb = 'fail',
    state = {},
  } = options;
  const compress = options.compress === 'zstd';
  assertHas(format, options);
  if (compress) assertZstd("compress: 'zstd'");
  if (options.track === true && (format !== 'cpt' || options.checksum === 'none')) {
    const text =
      "track: the image needs checksums, and the format 'cpt': its id must tell it apart";
    throw new MmdumpError('OPTION_INVALID', text);
  }
  if (options.changes === 'dirty' && options.zeroPages === 'copy') {
    const text = "changes: pages of zeros that are copied are found by digests only: use 'auto'";
    throw new MmdumpError('OPTION_INVALID', text);
  }
  if (options.freeze === false) assertNoBits(options, 'a machine that runs on has no one instant');
  return {
    to: options.to,
    detectZero: options.zeroPages !== 'copy',
    format: format === 'openvz' ? 'cpt' : format,
    digest: format !== 'cpt' ? DIGEST.NONE : digestKindOf(options.checksum ?? 'xxh3'),
    compress,
    blockPerPage: options.blocks === 'page',
    unsupported,
    hugetlb,
    freeze: options.freeze ?? true,
    pause: options.pause,
    isInstant: options.freeze ?? true,
    dontDump: options.dontDump ?? false,
    sizeLimit: options.sizeLimit,
    state: copyState(state, STATE_MAX_BYTES, 'the most that an image holds'),
    parent: undefined, // set while the image is in use
    changes: options.changes ?? 'auto',
    track: options.track === true && !(options.to instanceof NoSink),
    dryRun: options.to instanceof NoSink,
    unitPages: (unitBytes / GRANULE_SIZE) * GRANULE_PAGES,
    source: options.source ?? 'mm',
    signal: options.signal,
    onProgress: options.onProgress,
    onCaptured: options.onCaptured,
  };
}

/** Throws OPTION_INVALID for what only native images have. */
function assertHas(format: ImageFormat, { parent, compress, state }: DumpOptions): void {
  if (format === 'cpt') return;
  const what = format === 'elf' ? 'an ELF core file' : 'an OpenVZ file';
  const refused = (option: string, rest: string): MmdumpError => {
    return new MmdumpError('OPTION_INVALID', `${option}: ${what} has no ${rest} the format 'cpt'`);
  };
  if (parent !== undefined) throw refused('parent', 'parent: leave it out, or use');
  if (compress === 'zstd') throw refused('compress', 'compressed pages: use');
  if (state !== undefined) throw refused('state', 'state: leave it out, or use');
}
