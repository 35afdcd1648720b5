// Just enough of an assembler for the example: one function per instruction, labels for jumps.

const R = (funct7, funct3) => (rd, rs1, rs2) =>
  (funct7 << 25) | (rs2 << 20) | (rs1 << 15) | (funct3 << 12) | (rd << 7) | 0x33;
const I = (opcode, funct3) => (rd, rs1, imm) =>
  (imm << 20) | (rs1 << 15) | (funct3 << 12) | (rd << 7) | opcode;
const S = (funct3) => (rs2, rs1, imm) =>
  ((imm >> 5) << 25) | (rs2 << 20) | (rs1 << 15) | (funct3 << 12) | ((imm & 31) << 7) | 0x23;
const B = (funct3) => (rs1, rs2, label) => ({
  label,
  encode: (by) => branch(funct3, rs1, rs2, by),
});

function branch(funct3, rs1, rs2, by) {
  const high = (((by >> 12) & 1) << 31) | (((by >> 5) & 63) << 25);
  const low = (((by >> 1) & 15) << 8) | (((by >> 11) & 1) << 7);
  return high | (rs2 << 20) | (rs1 << 15) | (funct3 << 12) | low | 0x63;
}

function jal(rd, label) {
  const encode = (by) =>
    (((by >> 20) & 1) << 31) |
    (((by >> 1) & 0x3ff) << 21) |
    (((by >> 11) & 1) << 20) |
    (by & 0xff000) |
    (rd << 7) |
    0x6f;
  return { label, encode };
}

export const add = R(0, 0);
export const sub = R(0x20, 0);
export const sltu = R(0, 3);
export const xor = R(0, 4);
export const addi = I(0x13, 0);
export const andi = I(0x13, 7);
export const slli = (rd, rs1, by) => I(0x13, 1)(rd, rs1, by);
export const srai = (rd, rs1, by) => I(0x13, 5)(rd, rs1, by | 0x400);
export const lb = I(0x03, 0);
export const lw = I(0x03, 2);
export const lbu = I(0x03, 4);
export const lhu = I(0x03, 5);
export const jalr = I(0x67, 0);
export const sb = S(0);
export const sh = S(1);
export const sw = S(2);
export const beq = B(0);
export const bne = B(1);
export const blt = B(4);
export const bltu = B(6);
export const bgeu = B(7);
export const lui = (rd, upper) => (upper << 12) | (rd << 7) | 0x37;
export const auipc = (rd, upper) => (upper << 12) | (rd << 7) | 0x17;
export const ecall = 0x73;
export const ebreak = 0x100073;
export { jal };

/** The words of a program: instructions, and strings that name the place of the next one. */
export function assemble(lines) {
  const places = new Map();
  let at = 0;
  for (const line of lines) {
    if (typeof line === 'string') places.set(line, at);
    else at += 4;
  }
  const instructions = lines.filter((line) => typeof line !== 'string');
  return Int32Array.from(instructions, (line, index) => {
    return typeof line === 'number' ? line : line.encode(places.get(line.label) - 4 * index);
  });
}
