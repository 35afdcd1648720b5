/** Decodes the address spaces of an OpenVZ 6 container file: MMs and VMAs. */

import type { MmFields } from '../cpt/encode-mm.ts';
import type { Fields } from '../cpt/fields.ts';
import { reference } from './decode.ts';
import { OPENVZ_MM, OPENVZ_VMA } from './fields.ts';

/** The eleven addresses of an MM, in the order of the file. */
export const MM_ADDRESSES = [
  'start_code',
  'end_code',
  'start_data',
  'end_data',
  'start_brk',
  'brk',
  'start_stack',
  'start_arg',
  'end_arg',
  'start_env',
  'end_env',
] as const;

export function decodeMm(fields: Fields): MmFields {
  const addresses = MM_ADDRESSES.map((name, index) => {
    return [name, fields.number(OPENVZ_MM.ADDRESSES + index * 8, name)] as const;
  });
  return {
    ...(Object.fromEntries(addresses) as { [name in (typeof MM_ADDRESSES)[number]]: number }),
    def_flags: fields.number(OPENVZ_MM.DEF_FLAGS, 'def_flags'),
    flags: fields.number(OPENVZ_MM.MM_FLAGS, 'mm_flags'),
  };
}

/** The fields of a VMA. Addresses are in bytes, `pgoff` is in pages. */
export interface OpenvzVma {
  /** Position of the FILE that it maps; null for anonymous memory. */
  readonly file: number | null;
  readonly isVdso: boolean;
  /** Equal for mappings that share an anon_vma, and 0n without one. */
  readonly anonvmaid: bigint;
  readonly start: number;
  readonly end: number;
  readonly flags: number;
  readonly pgprotLow: number;
  readonly pgprotHigh: number;
  readonly pgoff: number;
}

/** The vdso, of today's layout or of the old one. */
const VDSO_TYPES: ReadonlySet<number> = new Set([2, 3]);

export function decodeVma(fields: Fields): OpenvzVma {
  const { FILE, TYPE, ANONVMA, ANONVMAID, START, END, FLAGS, PGPROT, PGOFF } = OPENVZ_VMA;
  const type = fields.u32(TYPE);
  if (type > 3) throw fields.problem(`type ${type}, expected 0 to 3`);
  if (fields.u32(FLAGS + 4) !== 0) throw fields.problem('flags of more than 32 bits');
  return {
    file: reference(fields, FILE, 'file'),
    isVdso: VDSO_TYPES.has(type),
    anonvmaid: fields.u32(ANONVMA) === 0 ? 0n : fields.u64(ANONVMAID),
    start: fields.number(START, 'start'),
    end: fields.number(END, 'end'),
    flags: fields.u32(FLAGS),
    pgprotLow: fields.u32(PGPROT),
    pgprotHigh: fields.u32(PGPROT + 4),
    pgoff: fields.number(PGOFF, 'pgoff'),
  };
}
