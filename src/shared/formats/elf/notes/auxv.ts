/** NT_AUXV: the auxiliary vector, pairs of a type and a value. */
import { ImageProblem } from '../../problem.ts';
import { u64At, viewOf } from '../words.ts';

/** The most bytes of an auxiliary vector. */
export const AUXV_MAX = 0x1_0000;

/** Values of the type of an entry of the auxiliary vector. */
export const AUXV_TYPE = {
  NULL: 0,
  PHDR: 3,
  PHENT: 4,
  PHNUM: 5,
  RANDOM: 25,
  EXECFN: 31,
  SYSINFO_EHDR: 33,
} as const;

/** The value of an entry of the auxiliary vector; 0 if it has none. */
export function auxvValue(auxv: Uint8Array, type: number): number {
  const view = viewOf(auxv);
  for (let at = 0; at + 16 <= auxv.length; at += 16) {
    const found = u64At(view, at);
    if (found === type) return u64At(view, at + 8);
    if (found === AUXV_TYPE.NULL) return 0;
  }
  return 0;
}

/** Throws an ImageProblem unless these can be the bytes of an auxiliary vector. */
export function assertAuxv(payload: Uint8Array, position: number): void {
  const { length } = payload;
  if (length % 16 === 0 && length <= AUXV_MAX) return;
  const text = `NT_AUXV: ${length} bytes, expected pairs of u64 and at most ${AUXV_MAX} bytes`;
  throw new ImageProblem('IMAGE_CORRUPT', position, text);
}
