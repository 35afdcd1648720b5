// The same processor on a window of an address space (createTlbWindow): hits are made in the loop
// itself, which calls nothing that goes on. Whatever is no hit ends the loop. The page is entered
// then, and the interpreter of cpu.mjs makes the instruction by the TLB.
import { alu, Cpu, immB, immJ, immS, isTaken, JUMPS, OPCODES } from './cpu.mjs';

const { LOAD, OP_IMM, AUIPC, STORE, OP } = OPCODES;
const { LUI, BRANCH, JALR, JAL } = JUMPS;
/** Bits of an address that are 0 if it is aligned, by funct3: bytes, halves or words. */
const UNALIGNED = Uint8Array.of(0, 1, 3, 1, 0, 1, 1, 1);

/**
 * Makes the loop. The arrays are constants of the function that it returns, so that V8 puts their
 * addresses into its code. It runs at most `left` instructions, and returns how many were not run.
 */
function makeLoop(cpu, { fetches, loads, stores, bytes, halves, words, now, since }) {
  const { x, missed } = cpu;

  function miss(pc, address, access, left) {
    cpu.pc = pc;
    missed.address = address;
    missed.access = access;
    return left;
  }

  return (left) => {
    let { pc } = cpu;
    for (; left > 0; left--) {
      const fetch = fetches[pc >>> 12];
      if (fetch === 0) return miss(pc, pc, 'execute', left);
      if (now[0] !== since[0]) return miss(pc, pc, undefined, left);
      const word = words[(pc + fetch) >>> 2];
      const rd = (word >>> 7) & 31;
      const funct3 = (word >>> 12) & 7;
      const a = x[(word >>> 15) & 31];
      const b = x[(word >>> 20) & 31];
      let next = (pc + 4) >>> 0;
      switch (word & 0x7f) {
        case LOAD: {
          const at = (a + (word >> 20)) >>> 0;
          const entry = loads[at >>> 12];
          if (entry === 0) return miss(pc, at, 'read', left);
          if ((at & UNALIGNED[funct3]) !== 0) return miss(pc, at, undefined, left);
          if (funct3 === 2) x[rd] = words[(at + entry) >>> 2];
          else if (funct3 === 4) x[rd] = bytes[(at + entry - 1) >>> 0];
          else if (funct3 === 5) x[rd] = halves[(at + entry) >>> 1];
          else if (funct3 === 0) x[rd] = (bytes[(at + entry - 1) >>> 0] << 24) >> 24;
          else x[rd] = (halves[(at + entry) >>> 1] << 16) >> 16;
          break;
        }
        case OP_IMM:
        case OP: {
          const isRegister = (word & 0x20) !== 0;
          const isOther = word >>> 30 === 1 && (isRegister || funct3 === 5);
          x[rd] = alu(funct3, isOther, a, isRegister ? b : word >> 20);
          break;
        }
        case STORE: {
          const at = (a + immS(word)) >>> 0;
          const entry = stores[at >>> 12];
          if (entry === 0) return miss(pc, at, 'write', left);
          if ((at & UNALIGNED[funct3]) !== 0) return miss(pc, at, undefined, left);
          if (funct3 === 2) words[(at + entry) >>> 2] = b;
          else if (funct3 === 0) bytes[(at + entry - 1) >>> 0] = b;
          else halves[(at + entry) >>> 1] = b;
          break;
        }
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
          next = ((a + (word >> 20)) & ~1) >>> 0;
          break;
        default:
          return miss(pc, pc, undefined, left);
      }
      x[0] = 0; // whatever was written there
      pc = next;
    }
    return miss(pc, pc, undefined, 0);
  };
}

/** A processor for one guest's memory. */
export class WindowCpu extends Cpu {
  /** Why the loop ended: the address that has no entry, and what it was for. */
  missed = { address: 0, access: undefined };

  constructor(memory) {
    super();
    this.memory = memory;
    this.loop = makeLoop(this, memory.window);
  }

  /** As `run` of Cpu, with the memory of this processor. Called inside the address space. */
  runHere(limit) {
    const { window, code, data } = this.memory;
    for (let left = limit; ; ) {
      window.enter();
      const before = left;
      left = this.loop(left);
      this.count += before - left;
      if (left === 0) return undefined;
      const { address, access } = this.missed;
      if (access !== undefined) window.fill(address, access);
      const trap = this.run(code, data, 1);
      if (trap !== undefined) return trap;
      left--;
    }
  }
}
