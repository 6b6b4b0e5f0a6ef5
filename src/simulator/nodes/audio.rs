//! Sound nodes of the simulator's own. They must not know of pictures.

use serde_json::json;

use super::super::files::Folder;
use super::super::media::Tone;
use super::{Data, Failure, Inputs, Produced, Stage, raised};

pub(super) fn tone(inputs: &Inputs) -> Result<Produced, Failure> {
    let tone = Tone { seconds: inputs.number("seconds")?, hertz: inputs.number("hertz")? };
    Ok(Produced::data(Data::Audio(tone)))
}

pub(super) fn save(inputs: &Inputs, stage: &Stage<'_, '_>) -> Result<Produced, Failure> {
    let Data::Audio(tone) = inputs.get("audio") else { return raised("TypeError", "audio is no sound") };
    let files = &stage.server.world.files;
    let Some(mut slot) = files.slot(Folder::Output, &inputs.text("filename_prefix"))? else {
        return raised("Exception", "Saving outside the output folder is not allowed.");
    };
    let (path, saved) = slot.next(0, "wav");
    std::fs::write(path, tone.wav())?;
    Ok(Produced::shows(json!({ "audio": [saved.to_json()] }), Vec::new()))
}
