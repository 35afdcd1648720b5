// An RV32I interpreter: 32 registers, a program counter, and two things that it is given:
//   code: { fetch32(pc) }                              instructions
//   data: { load8, load16, load32, store8, … }         a TLB, or anything like it

/** What the processor reports: an ECALL, an EBREAK, or an instruction that it does not know. */
export class Trap {
  constructor(cause, pc) {
    this.cause = cause;
    this.pc = pc;
  }
}

export const OPCODES = {
  LOAD: 0x03,
  FENCE: 0x0f,
  OP_IMM: 0x13,
  AUIPC: 0x17,
  STORE: 0x23,
  OP: 0x33,
};
export const JUMPS = { LUI: 0x37, BRANCH: 0x63, JALR: 0x67, JAL: 0x6f, SYSTEM: 0x73 };
const { LOAD, FENCE, OP_IMM, AUIPC, STORE, OP } = OPCODES;
const { LUI, BRANCH, JALR, JAL, SYSTEM } = JUMPS;

/** The immediate operands, as the formats S, B and J scatter them over the instruction. */
export const immS = (word) => ((word >> 25) << 5) | ((word >>> 7) & 31);
export const immB = (word) =>
  ((word >> 31) << 12) | ((word & 0x80) << 4) | ((word >>> 20) & 0x7e0) | ((word >>> 7) & 0x1e);
export const immJ = (word) =>
  ((word >> 31) << 20) | (word & 0xff000) | ((word >>> 9) & 0x800) | ((word >>> 20) & 0x7fe);

export function alu(funct3, isOther, a, b) {
  if (funct3 === 0) return isOther ? (a - b) | 0 : (a + b) | 0;
  if (funct3 === 4) return a ^ b;
  if (funct3 === 6) return a | b;
  if (funct3 === 7) return a & b;
  if (funct3 === 1) return a << (b & 31);
  if (funct3 === 5) return isOther ? a >> (b & 31) : a >>> (b & 31);
  if (funct3 === 2) return a < b ? 1 : 0;
  return a >>> 0 < b >>> 0 ? 1 : 0;
}

function load(data, funct3, at) {
  if (funct3 === 2) return data.load32(at);
  if (funct3 === 4) return data.load8(at);
  if (funct3 === 5) return data.load16(at);
  return funct3 === 0 ? data.load8s(at) : data.load16s(at);
}

function store(data, funct3, at, value) {
  if (funct3 === 2) data.store32(at, value);
  else if (funct3 === 0) data.store8(at, value);
  else data.store16(at, value);
}

export function isTaken(funct3, a, b) {
  const isLess = funct3 < 6 ? a < b : a >>> 0 < b >>> 0;
  const holds = funct3 < 4 ? a === b : isLess;
  return (funct3 & 1) === 0 ? holds : !holds;
}

/** The processor. An access that faults leaves `pc` at its instruction and changes no register. */
export class Cpu {
  pc = 0;
  /** Registers x0 to x31. */
  x = new Int32Array(32);
  /** How many instructions have run. */
  count = 0;

  /** Runs at most `limit` instructions, up to 2^30. Returns the Trap that ended it, or undefined. */
  run(code, data, limit) {
    const { x } = this;
    let { pc } = this;
    let left = limit;
    try {
      for (; left > 0; left--) {
        const word = code.fetch32(pc);
        const rd = (word >>> 7) & 31;
        const funct3 = (word >>> 12) & 7;
        const a = x[(word >>> 15) & 31];
        const b = x[(word >>> 20) & 31];
        let next = (pc + 4) >>> 0;
        switch (word & 0x7f) {
          case LOAD:
            x[rd] = load(data, funct3, (a + (word >> 20)) >>> 0);
            break;
          case OP_IMM:
          case OP: {
            const isRegister = (word & 0x20) !== 0;
            const isOther = word >>> 30 === 1 && (isRegister || funct3 === 5);
            x[rd] = alu(funct3, isOther, a, isRegister ? b : word >> 20);
            break;
          }
          case STORE:
            store(data, funct3, (a + immS(word)) >>> 0, b);
            break;
          case BRANCH:
            if (isTaken(funct3, a, b)) next = (pc + immB(word)) >>> 0;
            break;
          case LUI:
            x[rd] = word & ~0xfff;
            break;
          case AUIPC:
            x[rd] = (pc + (word & ~0xfff)) | 0;
            break;
          case JAL:
            x[rd] = next;
            next = (pc + immJ(word)) >>> 0;
            break;
          case JALR:
            x[rd] = next;
            next = (a + (word >> 20)) & ~1;
            next >>>= 0;
            break;
          case FENCE:
            break;
          case SYSTEM:
            left--;
            pc = next; // an ECALL is over, and what follows it goes on there
            return new Trap(word === 0x73 ? 'ecall' : 'ebreak', pc);
          default:
            return new Trap('unknown instruction', pc);
        }
        x[0] = 0; // whatever was written there
        pc = next;
      }
      return undefined;
    } finally {
      this.pc = pc;
      this.count += limit - left;
    }
  }

  /** The state of the processor beside the memory, and its way back. */
  save() {
    return { pc: this.pc, x: this.x.slice(), count: this.count };
  }

  restore({ pc, x, count }) {
    this.pc = pc;
    this.x.set(x);
    this.count = count;
  }
}
