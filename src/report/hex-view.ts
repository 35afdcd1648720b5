/** Shows the bytes of a page as hexadecimal numbers and as text. */
import { h } from './dom.ts';

const PER_LINE = 16;

/** One line for 16 bytes. Lines that repeat the one above are one line with a star. */
export function hexView(address: number, bytes: Uint8Array): HTMLElement {
  const lines: string[] = [];
  let before = '';
  let isStarred = false;
  for (let at = 0; at < bytes.length; at += PER_LINE) {
    const line = bytes.subarray(at, at + PER_LINE);
    const numbers = Array.from(line, (byte) => byte.toString(16).padStart(2, '0'));
    const shown = numbers.join(' ');
    if (shown === before && at + PER_LINE < bytes.length) {
      if (!isStarred) lines.push('*');
      isStarred = true;
      continue;
    }
    before = shown;
    isStarred = false;
    const text = String.fromCharCode(...line.map((byte) => (isShown(byte) ? byte : 0x2e)));
    lines.push(`${(address + at).toString(16).padStart(12, '0')}  ${shown}  ${text}`);
  }
  return h(
    'pre',
    { tabindex: 0, role: 'region', 'aria-label': 'Bytes of the page' },
    lines.join('\n'),
  );
}

function isShown(byte: number): boolean {
  return byte >= 0x20 && byte < 0x7f;
}
