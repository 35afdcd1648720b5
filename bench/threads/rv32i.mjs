// A small RV32I interpreter, and a program for it that loads and stores words and bytes.

/** Encoders of the instructions that the program uses. */
const load = (funct3, rd, rs1, at) => (at << 20) | (rs1 << 15) | (funct3 << 12) | (rd << 7) | 0x03;
const addi = (rd, rs1, by) => (by << 20) | (rs1 << 15) | (rd << 7) | 0x13;
const op = (funct3, rd, rs1, rs2) => (rs2 << 20) | (rs1 << 15) | (funct3 << 12) | (rd << 7) | 0x33;
const store = (funct3, rs1, rs2, at) =>
  ((at >> 5) << 25) | (rs2 << 20) | (rs1 << 15) | (funct3 << 12) | ((at & 31) << 7) | 0x23;
const blt = (rs1, rs2, by) =>
  (((by >> 12) & 1) << 31) |
  (((by >> 5) & 63) << 25) |
  (rs2 << 20) |
  (rs1 << 15) |
  (4 << 12) |
  (((by >> 1) & 15) << 8) |
  (((by >> 11) & 1) << 7) |
  0x63;
const ECALL = 0x73;

/** Goes through x6 words from x2 on: adds them up in x4, changes them, and copies a byte of each. */
export const PROGRAM = [
  load(2, 3, 2, 0), //  lw   x3, 0(x2)
  op(0, 4, 4, 3), //    add  x4, x4, x3
  op(4, 3, 3, 1), //    xor  x3, x3, x1
  store(2, 2, 3, 0), // sw   x3, 0(x2)
  load(4, 5, 2, 1), //  lbu  x5, 1(x2)
  store(0, 2, 5, 2), // sb   x5, 2(x2)
  addi(2, 2, 4), //     addi x2, x2, 4
  addi(1, 1, 1), //     addi x1, x1, 1
  blt(1, 6, -32), //    blt  x1, x6, the first line
  ECALL,
];

/** A register of that number; x0 is 0. */
function write(x, rd, value) {
  if (rd !== 0) x[rd] = value;
}

function alu(funct3, isSub, a, b) {
  if (funct3 === 0) return isSub ? (a - b) | 0 : (a + b) | 0;
  if (funct3 === 4) return a ^ b;
  if (funct3 === 6) return a | b;
  if (funct3 === 7) return a & b;
  if (funct3 === 1) return a << (b & 31);
  if (funct3 === 5) return isSub ? a >> (b & 31) : a >>> (b & 31);
  if (funct3 === 2) return a < b ? 1 : 0;
  return a >>> 0 < b >>> 0 ? 1 : 0;
}

function loaded(memory, funct3, at) {
  if (funct3 === 2) return memory.load32(at);
  if (funct3 === 4) return memory.load8(at);
  if (funct3 === 5) return memory.load16(at);
  return funct3 === 0 ? (memory.load8(at) << 24) >> 24 : (memory.load16(at) << 16) >> 16;
}

function isTaken(funct3, a, b) {
  const isLess = funct3 < 6 ? a < b : a >>> 0 < b >>> 0;
  const holds = funct3 < 4 ? a === b : isLess;
  return (funct3 & 1) === 0 ? holds : !holds;
}

/** Runs from `pc` on until ECALL, with the registers `x`. Returns the number of instructions. */
export function run(memory, pc, x) {
  for (let count = 1; ; count++) {
    const word = memory.load32(pc);
    const rd = (word >>> 7) & 31;
    const funct3 = (word >>> 12) & 7;
    const a = x[(word >>> 15) & 31];
    const b = x[(word >>> 20) & 31];
    let next = pc + 4;
    switch (word & 0x7f) {
      case 0x03:
        write(x, rd, loaded(memory, funct3, (a + (word >> 20)) | 0));
        break;
      case 0x13:
        write(x, rd, alu(funct3, funct3 === 5 && word >>> 30 === 1, a, word >> 20));
        break;
      case 0x33:
        write(x, rd, alu(funct3, word >>> 30 === 1, a, b));
        break;
      case 0x23: {
        const at = (a + (((word >> 25) << 5) | rd)) | 0;
        if (funct3 === 2) memory.store32(at, b);
        else if (funct3 === 0) memory.store8(at, b);
        else memory.store16(at, b);
        break;
      }
      case 0x37:
        write(x, rd, word & ~0xfff);
        break;
      case 0x63: {
        const low = ((word >>> 7) & 0x1e) | ((word >>> 20) & 0x7e0);
        const by = ((word >> 31) << 12) | ((word & 0x80) << 4) | low;
        if (isTaken(funct3, a, b)) next = pc + by;
        break;
      }
      default:
        return count;
    }
    pc = next;
  }
}

/** The same memory as an interpreter has it without mmdump. */
export class PlainMemory {
  constructor(bytes) {
    this.words = new Int32Array(bytes / 4);
    this.halves = new Uint16Array(this.words.buffer);
    this.bytes = new Uint8Array(this.words.buffer);
  }
  load8(at) {
    return this.bytes[at];
  }
  load16(at) {
    return this.halves[at >>> 1];
  }
  load32(at) {
    return this.words[at >>> 2];
  }
  store8(at, value) {
    this.bytes[at] = value;
  }
  store16(at, value) {
    this.halves[at >>> 1] = value;
  }
  store32(at, value) {
    this.words[at >>> 2] = value;
  }
}

/** Puts the program at `at`, and returns the registers for `words` words from `data` on. */
export function prepare(memory, at, data, words) {
  for (const [index, word] of PROGRAM.entries()) memory.store32(at + 4 * index, word);
  const x = new Int32Array(32);
  for (let index = 0; index < words; index++)
    memory.store32(data + 4 * index, Math.imul(index, 77));
  x[2] = data;
  x[6] = words;
  return x;
}
