/** `mmdump convert` makes another image of an image. */

import { MmdumpError } from '../../shared/errors.ts';
import { formatBytes, formatMs } from '../../shared/human-units.ts';
import { flattenImage } from '../convert/flatten.ts';
import type { ImageFormat } from '../dump/options.ts';
import { openImage } from '../image/image.ts';
import type { Deadline } from '../job/stop.ts';
import { convertFormat } from './convert-format.ts';
import { convertOpenvz } from './convert-openvz.ts';
import { isCore } from './convert-source.ts';
import { openOutput } from './output.ts';
import { EXIT } from './run-command.ts';
import type { Split } from './sizes.ts';
import { type OutputOptions, Progress, print, printJson } from './terminal.ts';
import type { TimeoutFlag } from './timeout-option.ts';
import { withTimeout } from './with-timeout.ts';

export interface ConvertFlags extends OutputOptions, TimeoutFlag {
  readonly flatten?: boolean;
  readonly format?: ImageFormat;
  /** Ordinal of the only address space that is converted. */
  readonly mm?: number;
  readonly workers?: number;
  readonly blocks: 'run' | 'page';
  readonly parents?: readonly string[];
  readonly force?: boolean;
  readonly sync: boolean;
  readonly split?: Split;
}

export function convertCommand(
  from: string,
  to: string,
  flags: ConvertFlags,
  signal: AbortSignal,
): Promise<number> {
  const { format, mm, workers } = flags;
  if (flags.flatten !== true || (format ?? 'cpt') !== 'cpt') {
    if (format === undefined) {
      throw new MmdumpError(
        'OPTION_INVALID',
        'convert: say what is to be made of the image: --format or --flatten',
      );
    }
    return withTimeout(flags, signal, 'open', (deadline) => {
      return convert(from, to, format, flags, deadline);
    });
  }
  if (mm !== undefined || workers !== undefined) {
    throw new MmdumpError('OPTION_INVALID', 'convert: --mm and --workers need --format, alone');
  }
  return withTimeout(flags, signal, 'open', (deadline) => flatten(from, to, flags, deadline));
}

/** A core file has to be imported first. An OpenVZ file is made of any other image as it is. */
async function convert(
  from: string,
  to: string,
  format: ImageFormat,
  flags: ConvertFlags,
  deadline: Deadline,
): Promise<number> {
  if (format === 'openvz' && !(await isCore(from))) {
    return await convertOpenvz(from, to, flags, deadline);
  }
  return await convertFormat(from, to, format, flags, deadline);
}

async function flatten(
  from: string,
  path: string,
  flags: ConvertFlags,
  { signal }: Deadline,
): Promise<number> {
  const { blocks, parents, force = false, sync, split } = flags;
  const image = await openImage(from, { signal, parents });
  const progress = new Progress(flags);
  try {
    const output = await openOutput({ path, force, sync, split });
    const { ancestors } = image;
    const report = await flattenImage(image, {
      to: output.sink,
      blocks,
      signal,
      onProgress: ({ bytes, totalBytes }) => progress.show('flatten', bytes, totalBytes),
    });
    progress.stop();
    const { bytes, id, ms } = report;
    const of = { path: from, format: 'cpt', id: image.id, ancestors };
    const made = { path, format: 'cpt', bytes, id };
    if (flags.json === true) printJson({ image: made, from: of, warnings: [], ms });
    else if (flags.quiet !== true) {
      const chain = `${ancestors.length + 1} ${ancestors.length === 0 ? 'image' : 'images'}`;
      print(`${path}: ${formatBytes(bytes)}, id ${id}, made of ${chain} in ${formatMs(ms)}`);
    }
    return EXIT.DONE;
  } finally {
    progress.stop();
    await image.close();
  }
}
