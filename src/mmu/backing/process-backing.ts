/** Pages in the memory of a stopped process. The place of a page is its number in that process. */
import { MmdumpError } from '../../shared/errors.ts';
import { addressOf, hex, PAGE_SIZE } from '../../shared/page.ts';
import { DescriptorBacking } from './descriptor-backing.ts';

/** Throws PROCESS_GONE if pages cannot be read: which page, and why. */
export class ProcessBacking extends DescriptorBacking {
  protected readonly end = 'it has no memory any more';

  protected positionOf(place: number): number {
    return addressOf(place);
  }

  protected failure(position: number, reason: string, errno: string): MmdumpError {
    const address = position - (position % PAGE_SIZE);
    const { pid } = this.backing;
    const text = `process ${pid}: its page at ${hex(address)} cannot be read: ${reason}`;
    return new MmdumpError('PROCESS_GONE', text, { pid, address, reason, errno });
  }
}
