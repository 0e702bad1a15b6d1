"""What each example graph says to its reader: all in headings, for the front end sets running text very small."""

QUICK_START = """# Press Run

## It takes a few seconds and needs nothing but this pack.

# What happens

## Invert turns the image into noise maps: the very noise that makes this image.

## Reconstruct samples with that noise and the source prompt: the image comes back.

## Edit samples with the same noise and the target prompt. What the words change, changes; the rest stays.

# Turn

## Target prompt: write "yellow" for "green".

## skip_steps of Edit: more keeps more of the image.

## cfg of Edit: more follows the words more.

# Next

## variations, local_edit, color_edit; and text_edit_sd15 for your own pictures.
"""

VARIATIONS = """# Several versions of one edit

## The same image, the same words, four seeds. Look at the place and the outline of the square.

# Turn

## variations of Invert: how many. The second uses seed + 1, and so on.

## seed of Invert: four others.

## skip_steps of Edit: fewer lets them differ more.

# Next

## One that you like? Set variations to 1 and seed to that one's: it comes out the same.
"""

SHIFT_AND_FLIP = """# Move the noise, and the image moves

## No words here: the image is inverted without a prompt, its noise maps are moved or mirrored, and sampled again.

# Turn

## x and y of Shift: pixels to the right and down. Negative goes left and up.

## fill of Shift: what comes in at the free side. copy is the paper's; gaussian lets the model invent it.

## horizontal and vertical of Flip.

# Next

## Wire Shift into Flip, and both happen.
"""

COLOR_EDIT = """# Paint a color, keep the structure

## Recolor draws the noise maps towards a painted color, only under the mask.

# Turn

## color of Paint: 14362916 is red, 2728760 green, 15592941 white.

## strength of Recolor: more is nearer to the paint.

## end_percent: a later end leaves less texture.

# Next

## For a picture of your own, draw the mask: Load Image, right-click, Open in MaskEditor.
"""

LOCAL_EDIT = """# Change the scene, keep the house

## The target prompt changes the whole picture. Under a mask, only what the mask covers changes: here all but the house.

## Outside the mask the image comes back exactly as it was.

# Turn

## Target prompt: at sunset, in winter.

## Wire mask of Image straight into Edit under the mask: now only the house changes.

# Next

## For a picture of your own, draw the mask: Load Image, right-click, Open in MaskEditor.
"""

SDEDIT_COMPARISON = """# The same paint, two ways

## A flat color is painted over the house.

## SDEdit (3b) adds noise to the painted image and samples it. With little noise the paint stays flat, with much the house is lost.

## Color edit (3a, 4a) keeps the noise of the original: the house keeps its structure and takes the color.

# Turn

## denoise of SDEdit, 0.3 to 0.7: does one value keep both?

## strength of Recolor.
"""

COMPARE_INVERSIONS = """# Which inversion?

## The same image, the same words, three ways to turn it into noise.

## a  Edit friendly: comes back exactly and keeps the layout.

## b  CycleDiffusion: comes back exactly too; the layout moves more, and in the paper it is lost.

## c  DDIM: one starting noise and no more; it only comes near the image.
"""

COMPARE_INVERSIONS_NEXT = """# Turn

## skip_steps and cfg of the edits, keep_residuals of DDIM.

# Next

## noise_statistics
"""

NOISE_STATISTICS = """# What is in the noise?

## Three inversions of one image, measured side by side.

## The larger the noise, the more of the image it holds.

## Edit-friendly noise turns back on itself: its correlation is negative.

## CycleDiffusion's is nearly as white as a sampler's own.

## DDIM has one starting noise and no more.

# Turn

## scene and seed of Image.

## keep_residuals of DDIM.
"""

SAVE_AND_REUSE = """# Invert once

## The inversion is the slow half. This graph does it once and keeps the noise maps in a file, below ComfyUI's output folder.

## Check shows what they hold: sampled with the source prompt, the image itself.

# Next

## Press Run, then open load_and_edit. If its list of files is empty, press R.
"""

LOAD_AND_EDIT = """# Edit often

## First run save_and_reuse: it writes the file that is loaded here. Press R if the list does not show it.

## No image and no inversion in this graph: the noise maps hold the image.

# Turn

## The target prompts: as many edits as you like, each at half the cost.

## Use the model that the maps were made with. Another family is refused with a message.
"""

TEXT_EDIT_SD15 = """# Edit a picture by words

## Needs a checkpoint of the SD 1.5 family in models/checkpoints.

# Your picture

## 1. Choose it in Image.

## 2. Source prompt: say what it shows.

## 3. Target prompt: the same, with what is to change.

## 4. Press Run.

# Turn

## Too little changes: lower skip_steps of Edit (36 to 20), or raise cfg (15 to 18).

## Too much changes: raise skip_steps (to 50), or lower cfg (to 9).

## Not quite: another seed in Invert.

## Faster on a GPU: timesteps_per_call 0.
"""

TEXT_EDIT_SDXL = TEXT_EDIT_SD15.replace("SD 1.5", "SDXL")

TEXT_EDIT_P2P = """# Edit a picture, keep its layout

## Needs a checkpoint of the SD 1.5 family in models/checkpoints.

## Prompt-to-Prompt with these noise maps, at the paper's settings: each word acts where the one in its place did.

# Your picture

## 1. Choose it in Image.

## 2. Source prompt: say what it shows.

## 3. Target prompt: change only the words that you mean to change.

## 4. Press Run.

# Turn

## Too little changes: cross_steps of Words (0.6 to 0.3), or a lower skip_steps.

## reweight of Words: snowy: 2.

## Not for moving things: it pins them down. For that, text_edit_sd15.
"""

TEXT_EDIT_TURBO = """# Edit a picture in 4 steps

## Needs an SDXL-Turbo checkpoint in models/checkpoints; lightning and LCM models are of the kind, too.

# Your picture

## 1. Choose it in Image.

## 2. Source prompt: say what it shows.

## 3. Target prompt: the same, with what is to change.

## 4. Press Run.

# Turn

## Too little or too much changes: cfg of Edit, 1 to 2. It leads away from the source prompt.

## Not quite: another seed in Invert.

## Blurred or grainy: clip_last of Invert up or down.
"""

TEXT_EDIT_SD3 = """# Edit a picture by words, with SD3.5

## Needs a checkpoint of the SD3 family with its text encoders in models/checkpoints.

## One pass, at the settings of FlowEdit: eta 0, 50 steps, the first 17 left out.

# Your picture

## 1. Choose it in Image.

## 2. Source prompt: say what it shows.

## 3. Target prompt: the same, with what is to change.

## 4. Press Run.

# Turn

## To turn a setting of Edit, take its wire off; Edit shows its own value then.

## skip_steps: more keeps more. target_cfg: more changes more.

## eta up to 1: the paper's noise.
"""

TEXT_EDIT_FLUX = """# Edit a picture by words, with Flux

## Needs a Flux dev checkpoint with its text encoders in models/checkpoints.

## One pass, at the settings of FlowEdit: eta 0, 28 steps, the first 4 left out.

## Flux dev is told its guidance with each prompt: 1.5 for the source, 5.5 for the target. cfg stays 1, so a step is one call.

# Your picture

## 1. Choose it in Image.

## 2. Source prompt: say what it shows.

## 3. Target prompt: the same, with what is to change.

## 4. Press Run.

# Turn

## To turn a setting, take its wire off; the node shows its own value then.

## skip_steps: more keeps more. Guidance of target: more changes more.
"""

TEXT_EDIT_VIDEO = """# Edit a video by words

## Needs Wan 2.1, its text encoder and its VAE.

# Your video

## 1. Choose it in Video. Its first 33 frames are edited: 4 n + 1 is what the model takes.

## 2. Source prompt: say what it shows.

## 3. Target prompt: the same, with what is to change.

## 4. Press Run.

# Turn

## Too little changes: lower skip_steps, or raise target_cfg.

## Not enough memory: fewer frames, or a smaller crop. One pass keeps no noise maps.

## A mask: one for all frames, or one for each.
"""

TOUR = """# Everything at once

## All that the pack does, on one scene. The picture below: edited by words, shifted; mirrored, recolored.

# Turn

## scene and seed of Image; Target prompt; color of Paint.

# For scripts

## python run.py demo posts this graph once for each scene of its sheet.
"""

PROMPT_TO_PROMPT = """# Edit the prompt, keep the layout

## Both edits have the same noise and the same words, and skip no steps, so nothing but the noise holds the image.

## Without attention the circle grows and sinks. With it, each word acts where it did in the original: the circle stays.

# Turn

## cross_steps of Words: how long words keep their place.

## self_steps: how long shapes are kept.

## reweight: red: 2 looks at "red" twice as much, red: 0 not at all.

# Not for

## moving things: it pins them down.
"""

COMPARE_ATTENTION = """# As Fig. 9 of the paper

## a  DDIM: the stripes fade.

## b  Prompt-to-Prompt on DDIM: a better circle; the stripes still fade.

## c  Prompt-to-Prompt with these maps: both stay.

## d  These maps alone.

# Settings

## cross_steps and self_steps are the paper's, the others tuned for the demo model. For Stable Diffusion: Edit Preset.
"""

FIND_THE_MASK = """# Find the mask, then edit

## Left: where the two prompts predict something else. It needs no drawing.

## Right: where the model looks for a word.

## Each shows the image, dark outside the mask, and beside it what was found.

## The edit stays in the left mask. How far says how much changed in it, and that nothing did outside.

# Turn

## threshold: lower for a larger mask.

## words: "blue". On this model the words of color find their things.

# Next

## Wire mask of Mask from words into Edit under the mask.
"""

SEVERAL_EDITS = """# Two edits at once

## Each has a prompt, a strength and a place of its own. One run of the sampler makes both.

## Where each has acted: the parts of the image that its prompt changes most, found in each step.

# Turn

## scale: how strongly. quantile: 0.8 is the fifth of the image that changes most, 0 all of it.

## direction: remove goes away from the prompt.

# Next

## A third edit: copy Add an Edit between the two and the sampler.
"""

SETTINGS_GRID = """# Which setting?

## One inversion, nine edits: as Fig. 14 of the paper.

## Down: more skip_steps keep more of the image, until the words no longer get through.

## To the right: more cfg follows the words more, until colors burn.

# Turn

## skips and cfgs of Grid: numbers with commas between them. Each pair is a run of its own.

# Next

## Take the pair that you like over to quick_start.
"""

ZERO_SHOT = """# An edit without a target prompt

## Sentences about two things give a direction: what the green ones have and the blue ones have not.

## Direction adds it to the caption.

## Zero-shot pulls what the words look at back to its place at every step. Compare where the circle is.

## It takes gradients, so it is slow.

# Turn

## guidance_weight of Zero-shot: 0 is the edit without it; 0.5 holds harder and fades the stripes.

## strength of Direction: -1 goes the other way.

## The sentences, one a line.
"""
