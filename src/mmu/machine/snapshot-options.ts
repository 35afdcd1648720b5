/** What `machine.snapshot` is asked for. */
import { flag, instanceOf, list, optional, wholeNumber } from '../../shared/arguments/checks.ts';
import { optionsOf, type Shape } from '../../shared/arguments/options.ts';
import { refusal } from '../../shared/arguments/refuse.ts';
import { copyState, STATE, type StateBlobs } from '../../shared/arguments/state-blobs.ts';
import { MiB } from '../../shared/page.ts';
import type { MachineParts } from '../mm/machine-parts.ts';
import { AddressSpace } from './address-space.ts';
import type { MmReference } from './enter.ts';
import { livingMms } from './merge-pages.ts';

/** State that a snapshot keeps beside memory: bytes under a name, such as registers of a CPU. */
export type SnapshotState = { readonly [name: string]: ArrayBufferView };

/** Options of `snapshot`. */
export interface SnapshotOptions {
  /** The address spaces to keep. Default: all of the machine. */
  readonly spaces?: readonly AddressSpace[] | undefined;
  /**
   * Bytes to keep beside them, by name: at most 1024, with names of 1 to 255 bytes. They are copied.
   * A dump of the snapshot puts them into the image. Default: none.
   */
  readonly state?: SnapshotState | undefined;
  /** The most bytes that `state` may have altogether. Default 64 MiB. */
  readonly maxStateBytes?: number | undefined;
  /**
   * true: a rewind looks only at those adopted pages that are marked (`dirty` of `banks`), or that
   * the machine has written, since the snapshot or its last rewind. The owner of the memory has to
   * mark every page that it stores. A page without a mark keeps what was stored. Banks without
   * marks, and pages that several mappings show, are compared as ever. Default false: a rewind
   * compares all adopted pages.
   */
  readonly trustMarks?: boolean | undefined;
}

const STATE_BYTES = 64 * MiB;
const SPACES = list(instanceOf(AddressSpace, 'an AddressSpace'));

const OPTIONS: Shape<SnapshotOptions> = {
  spaces: optional((what, value) => SPACES(what, value)),
  state: optional(STATE),
  maxStateBytes: optional(wholeNumber(0)),
  trustMarks: optional(flag),
};

/** What `snapshot` was asked for, checked and copied. */
export interface SnapshotRequest {
  readonly references: readonly MmReference[];
  readonly state: StateBlobs;
  readonly trustsMarks: boolean;
}

/** Checks and copies the options. Throws OPTION_INVALID. */
export function snapshotRequest(machine: MachineParts, options: SnapshotOptions): SnapshotRequest {
  const {
    spaces,
    state = {},
    maxStateBytes = STATE_BYTES,
    trustMarks: trustsMarks = false,
  } = optionsOf('snapshot', options, OPTIONS);
  const references = spaces?.map((space) => space.reference) ?? livingMms(machine);
  for (const [index, { machine: other }] of references.entries()) {
    if (other.isSameMachine(machine)) continue;
    throw refusal(`spaces[${index}]`, spaces?.[index], 'an AddressSpace of this machine');
  }
  const slots = new Set(references.map(({ slot }) => slot));
  if (slots.size < references.length) throw refusal('spaces', spaces, 'each address space once');
  if (references.length === 0) throw refusal('spaces', spaces, 'at least one address space');
  const copies = copyState(state, maxStateBytes, 'maxStateBytes');
  return { references, state: copies, trustsMarks };
}
