/** NT_FPREGSET: the x87 and SSE registers of a thread (struct user_fpregs_struct, as FXSAVE has it). */

/** Fields of struct user_fpregs_struct. */
const FPREGSET = {
  FCW: 0, //    u16
  FSW: 2, //    u16
  FTW: 4, //    u16, one bit per register that is in use
  FOP: 6, //    u16
  FIP: 8, //    u64
  FDP: 16, //   u64
  MXCSR: 24, // u32
  ST: 32, //    u8[128], 8 registers of 10 bytes, in 16 bytes each
  XMM: 160, //  u8[256], 16 registers
  SIZE: 512,
} as const;

export const FPREGSET_BYTES: number = FPREGSET.SIZE;

/** The registers of a payload of FPREGSET_BYTES bytes, as hexadecimal numbers. */
export function decodeFpregset(note: Buffer): { [name: string]: string } {
  const registers: { [name: string]: string } = {
    fcw: `0x${note.readUInt16LE(FPREGSET.FCW).toString(16)}`,
    fsw: `0x${note.readUInt16LE(FPREGSET.FSW).toString(16)}`,
    ftw: `0x${note.readUInt16LE(FPREGSET.FTW).toString(16)}`,
    fop: `0x${note.readUInt16LE(FPREGSET.FOP).toString(16)}`,
    fip: `0x${note.readBigUInt64LE(FPREGSET.FIP).toString(16)}`,
    fdp: `0x${note.readBigUInt64LE(FPREGSET.FDP).toString(16)}`,
    mxcsr: `0x${note.readUInt32LE(FPREGSET.MXCSR).toString(16)}`,
  };
  for (let st = 0; st < 8; st++) {
    registers[`st${st}`] = wideHex(note, FPREGSET.ST + st * 16, 10);
  }
  for (let xmm = 0; xmm < 16; xmm++) {
    registers[`xmm${xmm}`] = wideHex(note, FPREGSET.XMM + xmm * 16, 16);
  }
  return registers;
}

function wideHex(note: Buffer, at: number, bytes: number): string {
  const digits = Buffer.from(note.subarray(at, at + bytes))
    .reverse()
    .toString('hex');
  return `0x${digits.replace(/^0+(?=.)/, '')}`;
}
