//! Multipart forms (RFC 7578). Files stream to the media store as they arrive; all other parts are read as text.

use axum::extract::multipart::{Field, Multipart, MultipartError};
use axum::extract::{FromRequest, Request};
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use futures_util::{StreamExt, stream};
use utoipa::openapi::schema::{KnownFormat, SchemaFormat, Type};
use utoipa::openapi::{ObjectBuilder, RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use super::body::{JsonObject, expect_uncompressed, too_large};
use super::problem::{self, Problem};
use super::server::TooSlow;
use super::state::ApiState;
use crate::media::IncomingFile;
use crate::service::RequestFile;

/// The part that contains the JSON request.
const REQUEST: &str = "request";
/// The most parts of a form that are not files.
const MOST_TEXTS: usize = 256;

/// A form with one file, in a part of any name.
#[derive(Debug)]
pub struct FileForm;

impl PartialSchema for FileForm {
    fn schema() -> RefOr<Schema> {
        let file = ObjectBuilder::new()
            .schema_type(Type::String)
            .format(Some(SchemaFormat::KnownFormat(KnownFormat::Binary)))
            .description(Some("The file"));
        let form = ObjectBuilder::new()
            .description(Some("A form with one file, in a part of any name"))
            .min_properties(Some(1))
            .max_properties(Some(1));
        RefOr::T(form.additional_properties(Some(file)).into())
    }
}

impl ToSchema for FileForm {}

/// The body of a job request: JSON, or a form with the JSON in its part `request`.
#[derive(Debug, Default)]
pub struct JobBody {
    /// The JSON request; `None` for a form without the part `request`.
    pub json: Option<JsonObject>,
    /// The form's other texts, each with its part's name.
    pub texts: Vec<(String, String)>,
    /// The form's files, each with its part's name.
    pub files: Vec<(String, RequestFile)>,
}

impl JobBody {
    /// The length of the JSON and the texts, in bytes, without the files.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let json = self.json.as_ref().map_or(0, JsonObject::bytes);
        json + self.texts.iter().map(|(_, text)| text.len()).sum::<usize>()
    }
}

impl FromRequest<ApiState> for JobBody {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &ApiState) -> Result<Self, Problem> {
        if !is_form(&request) {
            let json = JsonObject::from_request(request, state).await?;
            return Ok(Self { json: Some(json), ..Self::default() });
        }
        let mut form = open(request, state).await?;
        Self::read(&mut form, state).await
    }
}

impl JobBody {
    async fn read(form: &mut Multipart, state: &ApiState) -> Result<Self, Problem> {
        let mut body = Self::default();
        let mut room = state.limits.max_body;
        while let Some(field) = next(form).await? {
            let name = name(&field)?;
            if name == REQUEST {
                let text = text(field, &mut room, state).await?;
                if body.json.replace(JsonObject::from(text)).is_some() {
                    return Err(malformed("the form has more than one part named \"request\"; send one"));
                }
            } else if let Some(filename) = field.file_name().map(str::to_owned) {
                let most = state.service.limits().max_inputs;
                if body.files.len() >= most {
                    let problem = Problem::new(
                        problem::BODY_TOO_LARGE,
                        format!("the form has more than {most} files (max_inputs)"),
                    );
                    return Err(problem.limit(most as u64));
                }
                let incoming = receive(field, &filename, state).await?;
                if filename.is_empty() && incoming.stored.bytes == 0 {
                    // A browser sends an empty part for a file field where the user chose no file.
                    continue;
                }
                body.files.push((name, RequestFile { filename, incoming: Some(incoming) }));
            } else {
                if body.texts.len() >= MOST_TEXTS {
                    return Err(malformed(format!(
                        "the form has more than {MOST_TEXTS} parts that are not files"
                    )));
                }
                body.texts.push((name, text(field, &mut room, state).await?));
            }
        }
        Ok(body)
    }
}

/// The file of a form that has exactly one part.
#[derive(Debug)]
pub struct FormFile {
    /// The file name given by the client; may be empty.
    pub filename: String,
    /// The received file.
    pub incoming: IncomingFile,
}

impl FromRequest<ApiState> for FormFile {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &ApiState) -> Result<Self, Problem> {
        if !is_form(&request) {
            return Err(Problem::new(
                problem::UNSUPPORTED_MEDIA_TYPE,
                "send the file as a part of a form with `Content-Type: multipart/form-data`, as `curl -F file=@photo.png` does",
            ));
        }
        let mut form = open(request, state).await?;
        Self::read(&mut form, state).await
    }
}

impl FormFile {
    async fn read(form: &mut Multipart, state: &ApiState) -> Result<Self, Problem> {
        let invalid = |detail: &str| Problem::new(problem::INVALID_REQUEST, detail.to_owned());
        let Some(field) = next(form).await? else {
            return Err(invalid("the form is empty; send one file"));
        };
        let filename = field.file_name().unwrap_or_default().to_owned();
        let incoming = receive(field, &filename, state).await?;
        match next(form).await? {
            None => Ok(Self { filename, incoming }),
            Some(_) => Err(invalid("the form has more than one part; send one file at a time")),
        }
    }
}

fn is_form(request: &Request) -> bool {
    let given = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    given.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("multipart/form-data")
}

fn malformed(detail: impl Into<String>) -> Problem {
    Problem::new(problem::MALFORMED_FORM, detail)
}

async fn open(request: Request, state: &ApiState) -> Result<Multipart, Problem> {
    expect_uncompressed(request.headers())?;
    Multipart::from_request(request, state).await.map_err(|rejection| {
        let why = rejection.body_text();
        // The rejection's status is replaced by that of `malformed_form`.
        drop(rejection.into_response());
        malformed(format!("the form cannot be read: {why}"))
    })
}

/// The problem for a form that could not be received completely.
fn broken(error: &MultipartError) -> Problem {
    TooSlow::of(error).map_or_else(
        || malformed(format!("the form is incomplete or not valid: {}", error.body_text())),
        Problem::from,
    )
}

async fn next(form: &mut Multipart) -> Result<Option<Field<'_>>, Problem> {
    form.next_field().await.map_err(|error| broken(&error))
}

fn name(field: &Field<'_>) -> Result<String, Problem> {
    field
        .name()
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .ok_or_else(|| malformed("a part of the form has no name; name every part"))
}

async fn text(mut field: Field<'_>, room: &mut usize, state: &ApiState) -> Result<String, Problem> {
    let mut bytes = Vec::new();
    while let Some(chunk) = field.chunk().await.map_err(|error| broken(&error))? {
        *room = room.checked_sub(chunk.len()).ok_or_else(|| too_large(state.limits.max_body))?;
        bytes.extend_from_slice(&chunk);
    }
    String::from_utf8(bytes).map_err(|_| malformed("a part of the form is neither a file nor UTF-8 text"))
}

/// Streams a file to the media store.
async fn receive(field: Field<'_>, filename: &str, state: &ApiState) -> Result<IncomingFile, Problem> {
    // The media store only learns that its source failed, so the problem to respond with is kept here.
    let mut refusal = None;
    let cause = &mut refusal;
    let chunks = stream::unfold((field, cause), |(mut field, cause)| async move {
        match field.chunk().await.map_err(|error| broken(&error)) {
            Ok(None) => None,
            Ok(Some(chunk)) => Some((Ok(chunk), (field, cause))),
            Err(problem) => {
                *cause = Some(problem);
                Some((Err("the form ended early".into()), (field, cause)))
            }
        }
    });
    let received = state.service.receive(filename, chunks.boxed()).await;
    received.map_err(|error| refusal.unwrap_or_else(|| error.into()))
}
