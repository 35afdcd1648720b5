/** The verify phase: the checksums of the payloads of an image. */
import { crc32 } from 'node:zlib';
import { PayloadTable } from '../shared/dump/payload-table.ts';
import type { PhaseReport, VerifyTask } from '../shared/dump/tasks.ts';
import type { Outcome } from '../shared/errors.ts';
import { MiB } from '../shared/page.ts';
import { Reader } from './parts/read-at.ts';
import { runUnits } from './phase.ts';

/** Read and summed up in one go, so that the sum finds the bytes in the cache. */
const BUFFER_BYTES = MiB / 2;

export function verify(task: VerifyTask): Outcome<PhaseReport> {
  const payloads = new PayloadTable(task.payloads);
  const unitStarts = new Int32Array(task.unitStarts);
  const reader = new Reader(task.source);
  const buffer = new Uint8Array(BUFFER_BYTES);
  return runUnits(task, task.unitCount, (unit) => {
    let bytes = 0;
    const last = unitStarts[unit + 1]!;
    for (let index = unitStarts[unit]!; index < last; index++) {
      payloads.setFound(index, checksum(reader, buffer, payloads, index));
      bytes += payloads.bytes(index);
    }
    return { pages: 0, bytes };
  });
}

function checksum(
  reader: Reader,
  buffer: Uint8Array,
  payloads: PayloadTable,
  index: number,
): number {
  const offset = payloads.offset(index);
  const bytes = payloads.bytes(index);
  let crc = 0;
  for (let done = 0; done < bytes; ) {
    const count = Math.min(buffer.length, bytes - done);
    reader.read(buffer, 0, count, offset + done);
    crc = crc32(buffer.subarray(0, count), crc);
    done += count;
  }
  return crc;
}
