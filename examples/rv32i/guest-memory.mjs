// The guest's memory is an address space of mmdump: guest addresses are its addresses.
import { createTlb, createTlbWindow } from 'mmdump';

const PAGE = 0xfffff000;

/** Instructions, through a translation of the page in which the program counter is. */
export class Code {
  // What the translation says. An epoch of NaN equals none, so the first fetch translates.
  words = new Int32Array(1);
  page = 0;
  add = 0;
  epoch = Number.NaN;

  constructor(mm) {
    this.mm = mm;
  }

  /** The instruction at `pc`. SIGSEGV if the page may not be executed. */
  fetch32(pc) {
    if ((pc & PAGE) !== this.page || this.mm.epoch() !== this.epoch) this.translate(pc);
    return this.words[((pc + this.add) | 0) >> 2];
  }

  translate(pc) {
    const { words, offset, epoch } = this.mm.translate(pc, 'execute');
    this.words = words;
    this.page = pc & PAGE;
    this.add = (offset - pc) | 0;
    this.epoch = epoch;
  }
}

/** What the processor needs to run in an address space. Its code lies at `at` and behind it. */
export function guestMemory(mm, at) {
  return { mm, code: new Code(mm), data: createTlb(mm), window: createTlbWindow(mm, at) };
}
