/** `mmdump convert --format openvz` makes a container file of OpenVZ 6 of an image. */
import { MmdumpError } from '../../shared/errors.ts';
import { formatBytes, formatMs } from '../../shared/human-units.ts';
import { lossesInOpenvz, lossesOfOne, lossesOfReading, lostState } from '../convert/losses.ts';
import { writeOpenvz } from '../convert/openvz/write-openvz.ts';
import { openImage } from '../image/image.ts';
import type { Deadline } from '../job/stop.ts';
import type { ConvertFlags } from './convert-command.ts';
import { assertOrdinal } from './convert-source.ts';
import { openOutput } from './output.ts';
import { EXIT, printError } from './run-command.ts';
import { shownId } from './shown-id.ts';
import { Progress, print, printJson } from './terminal.ts';

export async function convertOpenvz(
  from: string,
  path: string,
  flags: ConvertFlags,
  deadline: Deadline,
): Promise<number> {
  const { parents, force = false, sync, split, mm, workers, blocks } = flags;
  if (workers !== undefined || blocks === 'page') {
    const text = 'convert: an OpenVZ file has no blocks, and one thread makes it of an image';
    throw new MmdumpError('OPTION_INVALID', `${text}: leave out --workers and --blocks`);
  }
  const { signal } = deadline;
  const start = performance.now();
  const image = await openImage(from, { signal, parents });
  const progress = new Progress(flags);
  try {
    const mms = image.mms();
    assertOrdinal(mm, mms.length);
    const output = await openOutput({ path, force, sync, split });
    if (output.sink.kind === 'stream') {
      throw new MmdumpError('OPTION_INVALID', `output: '${path}': an OpenVZ file needs a file`);
    }
    const chosen = mm === undefined ? mms : [mms[mm]!];
    const losses = await Promise.all(chosen.map((each) => lossesInOpenvz(image, each)));
    const others = mm === undefined ? [] : lossesOfOne(image);
    const left = [...lostState(image), ...others.map((line) => `not kept: ${line}`)];
    const warnings = [...lossesOfReading(image), ...left, ...losses.flat()];
    const request = { mm, isOpen: false, sizeLimit: undefined, deadline };
    const onProgress = (done: number, all: number): void => progress.show('convert', done, all);
    const bytes = await writeOpenvz(image, { ...request, to: output.sink, onProgress });
    progress.stop();
    for (const line of warnings) printError(`${from}: ${line}`);
    const ms = performance.now() - start;
    const { format, ancestors } = image;
    const made = { path, format: 'openvz', bytes, id: null };
    const source = { path: from, format, id: shownId(image), ancestors };
    if (flags.json === true) printJson({ image: made, from: source, warnings, ms });
    else if (flags.quiet !== true) {
      print(`${path}: openvz, ${formatBytes(bytes)}, made in ${formatMs(ms)}`);
    }
    return EXIT.DONE;
  } finally {
    progress.stop();
    await image.close();
  }
}
