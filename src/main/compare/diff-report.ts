/** What a comparison of images says, and its options. */
import { listener, optional, wholeNumber } from '../../shared/arguments/checks.ts';
import type { Shape } from '../../shared/arguments/options.ts';
import type { PageState } from '../image/pages/page-info.ts';
import { JOB_OPTIONS, type JobOptions } from '../job/stop.ts';
import type { StateChange } from './changed-states.ts';
import type { MappingChange } from './mapping-pairs.ts';

/** Options of `diffImages` and `diff`. */
export interface DiffOptions extends JobOptions {
  /** Called at most ten times per second while pages are compared, and once more at the end. */
  readonly onProgress?: ((progress: DiffProgress) => void) | undefined;
  /**
   * Most changed pages that are listed, and most runs of pages whose class has changed. The others
   * are counted. Default 10 000.
   */
  readonly maxPages?: number | undefined;
}

/** How far a comparison of images is. */
export interface DiffProgress {
  /** Pages that were looked at on both sides. */
  readonly pages: number;
  /** Pages that there are to look at. */
  readonly totalPages: number;
}

/** A page with other bytes. */
export interface ChangedPage {
  /** Ordinal of the mm. */
  readonly mm: number;
  /** Address of the page on the left side. */
  readonly left: number;
  /** Address of the page on the right side; it is another one if the mapping has moved. */
  readonly right: number;
  /** The first byte that differs, counted from the start of the page. */
  readonly firstByte: number;
  /** How many of its 4096 bytes differ. */
  readonly differentBytes: number;
}

/** A run of neighbouring pages about which the images say different things. */
export interface ClassChange {
  /** Ordinal of the mm. */
  readonly mm: number;
  /** Address of the first page on the left side. */
  readonly left: number;
  /** Address of the first page on the right side. */
  readonly right: number;
  /** Number of pages. */
  readonly pages: number;
  /** What the left side says. */
  readonly from: PageState;
  /** What the right side says. It can equal `from` if only one side knows the bytes. */
  readonly to: PageState;
  /**
   * Whether both sides know the bytes. If not, nobody can tell whether they have changed. If so, the
   * pages among them that did change are in `changedPages` as well.
   */
  readonly known: boolean;
}

/** A field of the mm that has another value. */
export interface FieldChange {
  /** Its name, as in `ImageMm.fields`. */
  readonly name: string;
  /** Its value on the left side. */
  readonly left: number;
  /** Its value on the right side. */
  readonly right: number;
}

/** What has changed in one mm. */
export interface MmDiff {
  /** Ordinal of the mm in both images. */
  readonly mm: number;
  /** Whether both images have it, or only one. */
  readonly in: 'both' | 'left' | 'right';
  /** Number of mappings on the left side. */
  readonly leftMappings: number;
  /** Number of mappings on the right side. */
  readonly rightMappings: number;
  /** Addresses and flags of the mm that have changed. */
  readonly fields: readonly FieldChange[];
  /** Payloads that have changed. */
  readonly payloads: readonly ('auxv' | 'notes' | 'ldt')[];
  /** Changes of the mappings, by ascending address. */
  readonly mappings: readonly MappingChange[];
  /** Pages that are mapped on both sides, moved ones included. */
  readonly pages: number;
  /** Pages with other bytes. */
  readonly changed: number;
  /** Pages about which the images say different things. */
  readonly reclassified: number;
}

/** What differs between two images. */
export interface ImageDiff {
  /**
   * Whether nothing is different. Mappings that were only split or merged are the same, and the ids
   * of the images do not matter.
   */
  readonly same: boolean;
  /**
   * State beside memory that has changed, or that only one image has, by name. Empty when address
   * spaces are compared, which have none.
   */
  readonly state: readonly StateChange[];
  /** By ordinal. */
  readonly mms: readonly MmDiff[];
  /** Pages with other bytes, by mm and address; at most `maxPages` of them. */
  readonly changedPages: readonly ChangedPage[];
  /** Runs of pages with another class, by mm and address; at most `maxPages` of them. */
  readonly classChanges: readonly ClassChange[];
  /** Changed pages and runs beyond those of the two lists. */
  readonly unlisted: number;
  /** Bytes that were read. Blocks with equal digests are not read. */
  readonly bytesRead: number;
}

/** Default of `maxPages`. */
export const PAGES_MAX = 10_000;

/** The options of `diffImages` and `diff`, which are checked before it begins. */
export const DIFF_OPTIONS: Shape<DiffOptions> = {
  ...JOB_OPTIONS,
  onProgress: listener(),
  maxPages: optional(wholeNumber(0)),
};
