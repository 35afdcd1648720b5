/** Bytes for people: in hexadecimal and as text. */
const ROW_BYTES = 16;

/**
 * Rows of 16 bytes with their addresses, in hexadecimal and in ASCII. Rows that repeat the one before
 * are one `*`, except the last.
 */
export function hexDump(address: number, bytes: Uint8Array): string[] {
  const all = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  const lines: string[] = [];
  let isRepeated = false;
  for (let at = 0; at < all.length; at += ROW_BYTES) {
    const row = all.subarray(at, at + ROW_BYTES);
    const isLast = at + ROW_BYTES >= all.length;
    const isSame = at > 0 && !isLast && row.equals(all.subarray(at - ROW_BYTES, at));
    if (!isSame) lines.push(rowText(address + at, row));
    else if (!isRepeated) lines.push('*');
    isRepeated = isSame;
  }
  return lines;
}

function rowText(address: number, row: Buffer): string {
  const digits = [...row].map((byte) => byte.toString(16).padStart(2, '0'));
  const halves = [digits.slice(0, 8), digits.slice(8)].map((half) => half.join(' ')).join('  ');
  const text = [...row].map((byte) =>
    byte >= 0x20 && byte < 0x7f ? String.fromCharCode(byte) : '.',
  );
  return `${address.toString(16)}  ${halves}  |${text.join('')}|`;
}
