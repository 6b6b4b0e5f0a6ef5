//! Multipart forms (RFC 7578): files go to the media store as they come, all else is read as text. It must not know
//! what the parts are for.

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

/// The part that holds what would else be the JSON body.
const REQUEST: &str = "request";
/// Parts of a form that are no files.
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

/// What a request for a job brought: JSON, or a form with the JSON as its part `request`.
#[derive(Debug, Default)]
pub struct JobBody {
    /// The JSON; none in a form without the part `request`.
    pub json: Option<JsonObject>,
    /// The form's other texts, by the names of their parts.
    pub texts: Vec<(String, String)>,
    /// The form's files, by the names of their parts.
    pub files: Vec<(String, RequestFile)>,
}

impl JobBody {
    /// The bytes of all that is no file.
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
                    return Err(malformed("the form has more than one part called \"request\""));
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
                    // What a browser sends for a field where nobody chose a file.
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

/// The one file of a form.
#[derive(Debug)]
pub struct FormFile {
    /// The caller's name for it.
    pub filename: String,
    /// Its bytes.
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
            return Err(invalid("the form has no part; send one file"));
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
        // Its own status says no more than that it is the caller's fault.
        drop(rejection.into_response());
        malformed(format!("the form cannot be read: {why}"))
    })
}

/// What went wrong with a form on its way.
fn broken(error: &MultipartError) -> Problem {
    TooSlow::of(error).map_or_else(
        || malformed(format!("the form broke off or is not valid: {}", error.body_text())),
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
        .ok_or_else(|| malformed("a part of the form has no name"))
}

async fn text(mut field: Field<'_>, room: &mut usize, state: &ApiState) -> Result<String, Problem> {
    let mut bytes = Vec::new();
    while let Some(chunk) = field.chunk().await.map_err(|error| broken(&error))? {
        *room = room.checked_sub(chunk.len()).ok_or_else(|| too_large(state.limits.max_body))?;
        bytes.extend_from_slice(&chunk);
    }
    String::from_utf8(bytes).map_err(|_| malformed("a part of the form is neither a file nor UTF-8 text"))
}

/// Stores a file as it comes.
async fn receive(field: Field<'_>, filename: &str, state: &ApiState) -> Result<IncomingFile, Problem> {
    // The media store is told only that the source failed; what to answer is kept here.
    let mut refusal = None;
    let told = &mut refusal;
    let chunks = stream::unfold((field, told), |(mut field, told)| async move {
        match field.chunk().await.map_err(|error| broken(&error)) {
            Ok(None) => None,
            Ok(Some(chunk)) => Some((Ok(chunk), (field, told))),
            Err(problem) => {
                *told = Some(problem);
                Some((Err("the form broke off".into()), (field, told)))
            }
        }
    });
    let received = state.service.receive(filename, chunks.boxed()).await;
    received.map_err(|error| refusal.unwrap_or_else(|| error.into()))
}
